"""`pumpd journal ...`: is the record whole, and what became of each order to the pump."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich import box
from rich.table import Table
from rich.text import Text

from pumpd.commands.reach import DONE, Failed
from pumpd.commands.replay import journal_path, reading
from pumpd.commands.screen import out
from pumpd.messaging.encode import to_json
from pumpd.records.chain import Chain, check
from pumpd.records.journal_file import GENESIS, Reader, Row
from pumpd.records.orders import orders_of

BROKEN, UNREADABLE, NONE = 4, 5, 6  # what `verify` ends with besides 0; documented in docs/commands.md

JournalFile = Annotated[Path | None, Parameter(name="--journal")]

journal = App(
    name="journal",
    group="Try and plan",
    help="""Check the record: is it whole, what became of each order to the pump.

    pumpd journal verify --config /etc/pumpd/pumpd.toml

    Everything here only reads, and may be run while the daemon writes the journal.
    """,
)


@journal.default
def teach() -> int:
    """Say what the journal is and what can be asked of it."""
    out.print(
        """Every decision, order, outcome and alarm is a row of the journal. Each row holds the hash of the one
before it, so a changed, missing or moved row shows. Rows are never deleted.

    pumpd journal verify --config FILE           is every row there, as it was written?
    pumpd journal verify PATH --head HASH        ... and was nothing cut off the end since HASH was noted?
    pumpd replay --config FILE                   which sessions are there?
    pumpd replay SESSION --config FILE           do the same orders and alarms come out again?
    pumpd journal orders SESSION --config FILE   what became of each order to the pump?""",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    return DONE


@journal.command
def verify(
    path: Path | None = None, /, *, config: Path | None = None, head: str | None = None, json: bool = False
) -> int:
    """Walk the whole chain of hashes and name the first row that was changed, moved, or follows a gap.

    pumpd journal verify --config /etc/pumpd/pumpd.toml

    Ends with 0 when every row is as it was written, 4 when one is not or the head is missing, 5 when the file cannot
    be read to its end, 6 when there is no journal.

    Parameters
    ----------
    path
        The journal file.
    config
        Or the configuration file that says where the journal is.
    head
        A head hash noted earlier and kept elsewhere: it must still be in the journal, or its end was cut off.
    json
        Print the findings as JSON.
    """
    path = journal_path(path, config)
    try:
        with Reader.open(path) as reader:
            chain, sought = check(reader, head or "")
            origin = reader.origin() if chain.rows else ("", 0, GENESIS)
    except FileNotFoundError as error:
        raise Failed(str(error), NONE) from None
    except sqlite3.Error as error:
        chain, sought, origin = Chain(unreadable=str(error)), None, ("", 0, GENESIS)
    cut = head is not None and sought is None
    code = UNREADABLE if chain.unreadable else BROKEN if chain.broken or cut else DONE
    if json:
        out.print(to_json(_findings(path, chain, origin, cut, code)), soft_wrap=True, markup=False, highlight=False)
    else:
        _tell(path, chain, origin, head if cut else None, sought)
    return code


@journal.command
def orders(session: str, /, *, journal_file: JournalFile = None, config: Path | None = None) -> int:
    """List every order to the pump of one session, and what became of it.

    pumpd journal orders 4be1a0c9d2f3 --config /etc/pumpd/pumpd.toml

    An order without an outcome of its own (the program was killed, or a STOP took its place) names the row that told
    what the pump had done.

    Parameters
    ----------
    session
        The session's id, from `pumpd replay`.
    journal_file
        The journal file.
    config
        Or the configuration file that says where the journal is.
    """
    with reading(journal_path(journal_file, config)) as reader:
        lives = orders_of(_rows_of(reader, session))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("row", "at", "no.", "order", "", "what became of it"):
        table.add_column(title, overflow="fold")
    for life in lives:
        number = f"{life.number}" if life.number else ""
        style = "bold yellow" if life.open else ""
        table.add_row(f"{life.seq}", life.ts[11:19], number, life.order, life.what, Text(life.words), style=style)
    out.print(table)
    still = sum(life.open for life in lives)
    out.print(f"{len(lives)} orders, {still} open" if still else f"{len(lives)} orders, every one with its outcome")
    return DONE


def _rows_of(reader: Reader, session: str) -> Iterator[Row]:
    """The rows of the session, and of its bed until the next one began."""
    first = next(reader.rows(session_id=session), None)
    if first is None:
        raise Failed(f"no session {session} in this journal; `pumpd replay` without a session lists them")
    for row in reader.rows(bed=first.bed, since=first.seq - 1):
        if row.session_id not in ("", session):
            return
        yield row


def _findings(path: Path, chain: Chain, origin: tuple[str, int, str], cut: bool, code: int) -> dict[str, Any]:
    broken = chain.broken
    return {
        "journal": str(path),
        "verdict": {DONE: "whole", BROKEN: "broken", UNREADABLE: "unreadable"}[code],
        "rows": chain.rows,
        "sessions": len(chain.sessions),
        "first_ts": chain.first_ts or None,
        "last_ts": chain.last_ts or None,
        "head": {"seq": chain.seq, "hash": chain.hash},
        "goes_on_from": {"file": origin[0], "seq": origin[1], "hash": origin[2]} if origin[0] else None,
        "broken": broken
        and {
            "seq": broken.seq,
            "what": broken.what,
            "text": broken.text,
            "ts": broken.ts or None,
            "session_id": broken.session_id or None,
        },
        "unreadable": chain.unreadable or None,
        "head_missing": cut,
    }


def _tell(path: Path, chain: Chain, origin: tuple[str, int, str], cut: str | None, sought: int | None) -> None:
    broken = chain.broken
    if broken is not None:
        where = ", ".join(filter(None, (broken.ts, broken.session_id and f"session {broken.session_id}")))
        _say("BROKEN", "bold red", f"{broken.text} ({where})" if where else broken.text)
    elif chain.unreadable:
        _say("UNREADABLE", "bold red", f"behind row {chain.seq}: {chain.unreadable}")
    elif cut is not None:
        _say(
            "CUT", "bold red", f"{cut} is the hash of no row: the end was cut off, or it is the head of another journal"
        )
    else:
        _say("whole", "bold green", f"{path}: every row is as it was written")
    holds = "holds: " if broken or chain.unreadable else ""
    span = f", {chain.first_ts} to {chain.last_ts}" if chain.rows else ""
    rows, sessions = _counted(chain.rows, "row"), _counted(len(chain.sessions), "session")
    lines = [f"{holds}{rows}, {sessions}{span}"]
    if origin[0]:
        lines.append(f"goes on from row {origin[1]} of {origin[0]}")
    if sought is not None:
        lines.append(f"the head kept elsewhere is row {sought}; {_counted(chain.seq - sought, 'row')} came after it")
    lines.append(f"head: row {chain.seq}, {chain.hash}")
    out.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _say(word: str, style: str, text: str) -> None:
    out.print(Text.assemble((word, style), f": {text}"), soft_wrap=True)
