"""How a bed looks on a terminal. Unknown is shown as unknown, never as 0 or the last number (S7)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pumpd.commands.picture import NOTHING, Message, Picture
from pumpd.core.catalogue import CATALOGUE, HIGH
from pumpd.messaging.messages import HIDDEN

NOT_CERTIFIED = "pumpd is no certified medical device. The alarms of the pump and of the monitor stay primary."
ENABLED = "enabled"
UNKNOWN = Text("unknown", style="bold magenta")
SYMBOL = {"high": "!!!", "medium": "!!", "low": "!"}  # with the word, so that no meaning hangs on the colour
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
WAITING = ("planned", "armed")
OVER = ("ending", "observing", "ended", "aborted")  # nothing more is to be given
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
    parts += [*_lines(picture, None), Text(NOT_CERTIFIED, "dim")]
    return Group(*parts)


def bed(picture: Picture, name: str, now: float, *, stale: bool = False) -> Panel:
    """One bed: what is given, how far it is, what is wrong."""
    session = picture.sessions[name]
    sample = NOTHING if stale else picture.sample(session["pump"], now)
    connection = picture.connections.get(session["pump"], NOTHING).get("state", "unknown")
    rows: list[RenderableType] = [_state_line(session, sample, connection, stale=stale)]
    if session["session_id"] is not None:
        rows += [_progress(session, sample), _figures(session, sample)]
    if session.get("hold_reason"):
        rows.append(Text(session["hold_reason"], "yellow"))
    rows += _alarms(picture, name, now, stale=stale)
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


def _figures(session: Message, sample: Message) -> RenderableType:
    return _delivered(session, sample) if session["phase"] in OVER else _so_far(session, sample)


def _delivered(session: Message, sample: Message) -> RenderableType:
    """After the session: what was given alone, so that nobody charts what was only planned."""
    volume, mass = number(session["delivered_ml"], "mL"), number(session["delivered_mg"], "mg")
    given = Text("  ").join([volume, mass]) if session["delivered_ml"] is not None else UNKNOWN
    return key_values(
        [("delivered in this session", given), ("rate the pump says", number(sample.get("rate_read_ml_h"), "mL/h"))]
    )


def _planned_rate(session: Message, sample: Message) -> Text:
    """Before the start 0 is planned now, which says nothing: the first step's rate does."""
    if session["phase"] in WAITING and session["steps"]:
        return Text.assemble("then ", number(session["steps"][0]["rate_ml_h"], "mL/h"))
    return number(sample.get("rate_plan_ml_h"), "mL/h")


def _so_far(session: Message, sample: Message) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    for _ in range(3):
        table.add_column(min_width=11, justify="right")
    table.add_row("", *(Text(word, "dim") for word in ("planned", "pump says", "we count")))
    table.add_row("rate", _planned_rate(session, sample), number(sample.get("rate_read_ml_h"), "mL/h"))
    volumes = ("volume_plan_ml", "volume_pump_ml", "volume_integrated_ml")
    table.add_row("given", *(number(sample.get(volume), "mL") for volume in volumes))
    return table


def _lines(picture: Picture, bed: str | None) -> list[RenderableType]:
    return [alarm_line(alarm, earlier=picture.is_earlier(alarm)) for alarm in picture.alarms_of(bed)]


def _alarms(picture: Picture, name: str, now: float, *, stale: bool) -> list[RenderableType]:
    lines = _lines(picture, name)
    if picture.alarms_late(now) or stale:
        lines.append(Text("this list of alarms may be incomplete", "bold magenta"))
    return lines or [Text("no alarms", "dim")]


def alarm_line(alarm: Message, *, earlier: bool = False) -> Text:
    """One alarm: how urgent, what, who knows, and for a high one what to do. One that is over says so first."""
    over, priority = alarm["condition"] == "gone", alarm["priority"]
    hidden = alarm.get("inactivation") in HIDDEN
    if hidden:
        line = Text.assemble((f"(hidden) {SYMBOL[priority]} {priority}: {alarm['text']}", "dim"))
    elif over:
        line = Text.assemble(("OVER: ", "bold"), alarm["text"], (f"  was {alarm['priority']}, not yet reset", "dim"))
    else:
        line = Text.assemble((f" {SYMBOL[priority]} {priority.upper()} ", PRIORITY[priority]), " ", alarm["text"])
    if earlier:
        line.append("  of an earlier session", "bold")
    if alarm["acked_by"]:
        line.append(f"  seen by {alarm['acked_by']}", "dim")
    if alarm.get("inactivation", ENABLED) != ENABLED:
        line.append(f"  {alarm['inactivation']} by {alarm['inactivated_by']}", "bold magenta")
    line.append(f"  {alarm['alarm_id']}", "dim")
    if not over and priority == HIGH and (action := what_to_do(alarm)):
        line.append(f"\n   → {action}", "bold")
    return line


def what_to_do(alarm: Message) -> str:
    """The catalogue's advice; empty for a code that this version does not know."""
    entry = CATALOGUE.get(alarm["code"])
    return entry.action if entry is not None and alarm.get("action_key") else ""


def alarm_details(alarm: Message) -> Text:
    """What stands below an alarm where there is room: why, what to do, since when, how often, silent until when."""
    entry = CATALOGUE.get(alarm["code"])
    lines = [] if entry is None else [f"because: {entry.cause}"]
    if alarm["priority"] != HIGH or alarm["condition"] == "gone":  # else its line says it already
        lines += [f"to do: {action}"] if (action := what_to_do(alarm)) else []
    times = f", {alarm['count']} times" if alarm["count"] > 1 else ""
    lines.append(f"no. {alarm.get('order', '-')}, since {here(alarm['first_ts'])}{times}")
    if alarm.get("until"):
        lines.append(f"silent until {here(alarm['until'])}")
    return Text("\n".join(f"   {line}" for line in lines), "dim")


def here(timestamp: str) -> str:
    """The daemon's timestamp as the clock on this wall, HH:MM."""
    return f"{datetime.fromisoformat(timestamp).astimezone():%H:%M}"


def prescription_line(plan: Message) -> Text:
    """What is given to whom, and out of which syringe: drug, dose, volume, weight, concentration, container."""
    line = Text.assemble(
        (f"{plan['drug']} {plain(plan['dose_mg'])} mg", "bold"), f" in {plain(plan['volume_ml'])} mL: "
    )
    line.append(f"{plain(plan['weight_kg'])} kg, {plain(plan['concentration_mg_ml'])} mg/mL")
    if fitted := plan.get("container"):  # a daemon before this field does not tell it
        what = "bag" if fitted["diameter_mm"] is None else f"{plain(fitted['diameter_mm'])} mm"
        line.append(f", {fitted['make']} {plain(fitted['size_ml'])} mL ({what})")
    return line


def unminded_words(plan: Message) -> str:
    """What the pump could still give if its line died."""
    amount = f"{plain(plan['unminded_ml'])} mL, {plain(plan['unminded_mg'])} mg"
    if plan["unminded_s"] is None:
        return f"this pump has no watchdog: it would run on to its own volume limit, {amount} at most"
    return f"the pump's watchdog stops it within {plan['unminded_s']} s; until then it could still give {amount}"


def limits_table(limits: Sequence[Message]) -> Table:
    """Every limit met or broken, the worst first."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("")
    table.add_column("limit", no_wrap=True)
    table.add_column("how the plan stands to it", overflow="fold")
    signs = {
        "met": ("✓", "green"),
        "warn": ("!", "yellow"),
        "soft": ("✗ soft", "bold yellow"),
        "second person": ("✗ two", "bold yellow"),
    }
    for limit in limits:
        sign, style = signs.get(limit["level"], ("✗ HARD", "bold red"))
        table.add_row(Text(sign, style), limit["name"], Text(limit["text"]))
    return table


def library_line(plan: Message) -> str:
    """Which drug library judged it."""
    library = plan["drug_library"]
    return f"drug library {library['version']}, sha256 {library['sha256'][:16]}"


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
