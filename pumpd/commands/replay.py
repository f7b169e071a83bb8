"""`pumpd replay`: decide a recorded session again, and see whether the same comes out."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from pumpd.commands.reach import DONE, REFUSED, USAGE, Failed, read_config
from pumpd.commands.screen import out
from pumpd.records.chain import check
from pumpd.records.journal_file import Reader
from pumpd.records.recall import Difference
from pumpd.records.recall import replay as decide_again
from pumpd.records.record import Unreadable


def replay(session: str | None = None, /, *, journal: Path | None = None, config: Path | None = None) -> int:
    """Decide every recorded event of a session again; the same orders and alarms must come out.

    pumpd replay 4be1a0c9d2f3 --config /etc/pumpd/pumpd.toml

    Without SESSION the sessions of the journal are listed. Ends with 1 at a difference or a broken chain of hashes.
    May be run while the daemon writes the journal.

    Parameters
    ----------
    session
        The session's id.
    journal
        The journal file.
    config
        Or the configuration file that says where the journal is.
    """
    with reading(journal_path(journal, config)) as reader:
        return _list(reader) if session is None else _replay(reader, session)


@contextmanager
def reading(path: Path) -> Iterator[Reader]:
    """A journal, and Failed for whatever goes wrong with reading it."""
    try:
        with Reader.open(path) as reader:
            yield reader
    except FileNotFoundError as error:
        raise Failed(str(error)) from None
    except sqlite3.Error as error:
        raise Failed(f"{path} cannot be read as a journal: {error}") from None
    except (Unreadable, ValueError, KeyError) as error:
        raise Failed(f"{path}: a row cannot be read: {error}") from None


def journal_path(journal: Path | None, config: Path | None) -> Path:
    """The journal that was named by itself or by a configuration. Raises Failed."""
    if journal is not None and config is None:
        return journal
    if config is not None and journal is None:
        return read_config(config).journal
    raise Failed("name the journal with one of --journal FILE and --config FILE", USAGE)


def _list(reader: Reader) -> int:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("session", "bed", "from", "to"):
        table.add_column(title)
    for row in reader.sessions():
        table.add_row(*row)
    out.print(table)
    return DONE


def _replay(reader: Reader, session: str) -> int:
    if session not in (known[0] for known in reader.sessions()):
        raise Failed(f"no session {session} in this journal; `pumpd replay` without a session lists them")
    chain, _ = check(reader)
    count, differences = decide_again(reader.rows(session_id=session))
    if not chain.whole:
        why = chain.broken.text if chain.broken else chain.unreadable
        out.print(Text.assemble(("BROKEN CHAIN", "bold red"), f": {why}"))
    if differences:
        _show(differences, count)
    if not chain.whole or differences:
        return REFUSED
    out.print(Text.assemble(("the same", "bold green"), f": {count} events decided again, every effect came out alike"))
    return DONE


def _show(differences: list[Difference], count: int) -> None:
    first = differences[0]
    recorded, decided = json.loads(first.recorded), json.loads(first.decided)
    out.print(
        Text.assemble(
            ("DIFFERENT", "bold red"),
            f": {len(differences)} of {count} events lead elsewhere; the first is row {first.seq},",
            f" session second {recorded['now']:.1f}",
        )
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("recorded", "decided now"):
        table.add_column(title, overflow="fold")
    pairs = zip_longest(_effects(recorded), _effects(decided), fillvalue="-")
    for old, new in pairs:
        table.add_row(Text(old), Text(new), style="" if old == new else "bold")
    out.print(table)


def _effects(row: dict[str, Any]) -> list[str]:
    """The effects in one line each; the event and the wake time, where these are all there is."""
    lines = [json.dumps(effect, sort_keys=True) for effect in row["effects"]]
    return [*lines, f"wake at {row['wake_at']}", f"event {json.dumps(row['event'], sort_keys=True)}"]
