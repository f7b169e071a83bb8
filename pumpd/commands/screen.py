"""How a bed looks on a terminal. Unknown is shown as unknown, never as 0 or the last number (S7)."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pumpd.commands.picture import NOTHING, Message, Picture

NOT_CERTIFIED = "pumpd is no certified medical device. The alarms of the pump and of the monitor stay primary."
UNKNOWN = Text("unknown", style="bold magenta")
PRIORITY = {"high": "bold white on red", "medium": "bold black on yellow", "low": "black on cyan"}
PHASE = {
    None: ("no session", "dim"),
    "planned": ("planned", "bold"),
    "armed": ("armed", "bold cyan"),
    "running": ("running", "bold green"),
    "paused": ("paused", "bold yellow"),
    "ending": ("ending", "bold yellow"),
    "observing": ("observing", "bold cyan"),
    "ended": ("ended", "bold green"),
    "aborted": ("aborted", "bold red"),
    "recovering": ("recovering", "bold red"),
}
MOVING = ("infusing", "bolus", "purging", "kvo", "withdrawing")

out = Console(highlight=False, soft_wrap=False)
err = Console(highlight=False, stderr=True)


def clock(seconds: Any) -> str:
    """Seconds as m:ss, or h:mm:ss from an hour on."""
    whole = round(float(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def number(value: Any, unit: str, digits: int = 2) -> Text:
    """A figure with its unit, or `unknown`."""
    if value is None:
        return UNKNOWN
    return Text(f"{Decimal(value):.{digits}f} {unit}")


def plain(value: Any) -> str:
    """A number without needless zeros."""
    return f"{Decimal(value).normalize():f}"


def marks(message: Message) -> Text:
    """SIMULATED and LABORATORY, where they hold (S14)."""
    text = Text()
    for holds, word, style in (
        (message.get("simulated"), "SIMULATED", "bold black on yellow"),
        (message.get("laboratory"), "LABORATORY", "bold white on blue"),
    ):
        if holds:
            text.append(f" {word} ", style).append(" ")
    text.rstrip()
    return text


def station(picture: Picture, now: float, note: str | None = None) -> RenderableType:
    """All beds of a station. `note` is said above them, such as a lost connection."""
    doubt = note or picture.doubt(now)
    parts: list[RenderableType] = []
    if doubt:
        parts.append(Text(f" {doubt} ", "bold white on red" if picture.heartbeat_at is not None else "bold"))
    if picture.status.get("state") == "offline":
        reason = picture.status.get("reason") or "no reason given"
        parts.append(Text(f" the station is offline: {reason} ", "bold white on red"))
    parts += [bed(picture, name, now, stale=doubt is not None) for name in sorted(picture.sessions)]
    parts += [*(alarm_line(alarm) for alarm in picture.alarms_of(None)), Text(NOT_CERTIFIED, "dim")]
    return Group(*parts)


def bed(picture: Picture, name: str, now: float, *, stale: bool = False) -> Panel:
    """One bed: what is given, how far it is, what is wrong."""
    session = picture.sessions[name]
    sample = NOTHING if stale else picture.sample(session["pump"], now)
    connection = picture.connections.get(session["pump"], NOTHING).get("state", "unknown")
    rows: list[RenderableType] = [_state_line(session, sample, connection, stale=stale)]
    if session["session_id"] is not None:
        rows += [_progress(session, sample), _figures(sample)]
    if session.get("hold_reason"):
        rows.append(Text(session["hold_reason"], "yellow"))
    rows += _alarms(picture, name, stale=stale)
    return Panel(
        Group(*rows),
        title=Text.assemble((f" bed {name} ", "bold"), _what(session)),
        title_align="left",
        subtitle=marks(session) or None,
        subtitle_align="right",
        border_style="red" if stale else "dim",
        box=box.ROUNDED,
        padding=(0, 1),
    )


def _what(session: Message) -> str:
    if session["session_id"] is None:
        return ""
    dose, minutes = plain(session["dose_mg"]), plain(round(Decimal(session["duration_s"]) / 60, 1))
    return f"· {session['drug']} {dose} mg in {plain(session['volume_ml'])} mL over {minutes} min "


def _state_line(session: Message, sample: Message, connection: str, *, stale: bool) -> RenderableType:
    words, style = PHASE[session["phase"]]
    left = Text.assemble((words.upper(), "dim" if stale else style), ("  (last known)" if stale else "", "dim"))
    motion = sample.get("state", "unknown")
    right = Text("pump ")
    right.append(motion, "bold green" if motion in MOVING else "bold magenta" if motion == "unknown" else "")
    if connection != "ready":
        right.append(f", link {connection}", "bold red")
    elif session["sight"] != "seeing":
        right.append(f", {session['sight']}", "bold red")
    return _sides(left, right)


def _sides(left: Text, right: Text) -> Table:
    line = Table.grid(expand=True)
    line.add_column(ratio=1)
    line.add_column(justify="right")
    line.add_row(left, right)
    return line


def _progress(session: Message, sample: Message) -> RenderableType:
    total = float(session["duration_s"])
    elapsed = sample.get("elapsed_s")
    remaining = sample.get("remaining_s")
    line = Table.grid(expand=True, padding=(0, 1))
    line.add_column(width=7, justify="right")
    line.add_column(ratio=1)
    line.add_column(justify="right")
    if elapsed is None:
        line.add_row(UNKNOWN, ProgressBar(total=total, completed=0), Text("time left unknown", "bold magenta"))
        return line
    done = min(float(elapsed), total)
    line.add_row(clock(elapsed), ProgressBar(total=total, completed=done), _time_left(session, sample, remaining))
    return line


def _time_left(session: Message, sample: Message, remaining: Any) -> Text:
    if remaining is None:
        return Text(f"of {clock(session['duration_s'])}", "dim")
    about = "" if sample.get("remaining_origin") == "plan" else "about "
    return Text.assemble((f"{about}{clock(remaining)}", "bold"), " left")


def _figures(sample: Message) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    for _ in range(3):
        table.add_column(min_width=11, justify="right")
    table.add_row("", *(Text(word, "dim") for word in ("planned", "pump says", "we count")))
    table.add_row("rate", number(sample.get("rate_plan_ml_h"), "mL/h"), number(sample.get("rate_read_ml_h"), "mL/h"))
    volumes = ("volume_plan_ml", "volume_pump_ml", "volume_integrated_ml")
    table.add_row("given", *(number(sample.get(volume), "mL") for volume in volumes))
    return table


def _alarms(picture: Picture, name: str, *, stale: bool) -> list[RenderableType]:
    alarms: Sequence[Message] = picture.alarms_of(name)
    lines: list[RenderableType] = [alarm_line(alarm) for alarm in alarms]
    if picture.alarms_late or stale:
        lines.append(Text("this list of alarms may be incomplete", "bold magenta"))
    return lines or [Text("no alarms", "dim")]


def alarm_line(alarm: Message) -> Text:
    """One alarm: how urgent, what, since when, who knows."""
    line = Text.assemble((f" {alarm['priority'].upper()} ", PRIORITY[alarm["priority"]]), " ", alarm["text"])
    if alarm["condition"] == "gone":
        line.append("  over, not yet reset", "dim")
    if alarm["acked_by"]:
        line.append(f"  seen by {alarm['acked_by']}", "dim")
    line.append(f"  {alarm['alarm_id']}", "dim")
    return line


def limits_table(limits: Sequence[Message]) -> Table:
    """Every limit met or broken, the worst first."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("")
    table.add_column("limit", no_wrap=True)
    table.add_column("how the plan stands to it", overflow="fold")
    signs = {"met": ("✓", "green"), "warn": ("!", "yellow"), "soft": ("✗ soft", "bold yellow")}
    for limit in limits:
        sign, style = signs.get(limit["level"], ("✗ HARD", "bold red"))
        table.add_row(Text(sign, style), limit["name"], Text(limit["text"]))
    return table


def plan_table(plan: Message) -> Table:
    """The steps of a plan."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for title in ("step", "rate", "for", "volume"):
        table.add_column(title, justify="right")
    for index, step in enumerate(plan["steps"], start=1):
        time = clock(step["duration_s"])
        table.add_row(str(index), f"{plain(step['rate_ml_h'])} mL/h", time, f"{plain(step['volume_ml'])} mL")
    return table


def key_values(pairs: Sequence[tuple[str, str | Text]]) -> Table:
    """Names and what they stand for."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(name, value)
    return table
