"""What a nurse does next, from what the display shows and what she has been told: the script of the kill campaigns.

Two patients. The first gets the whole dose, with a pause, a rate lowered at the keypad and restored, another syringe
and a stalled motor on the way; the second is stopped soon after the start. She never remembers what a dead daemon owed
her: what she has not been told is done, she looks up, and orders again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from pumpd.bedside.desk import CHECKLIST
from tests.bedside import PLAN

PATIENTS = ("p-1", "p-2")
MARKS = ((300.0, "pause"), (600.0, "dial"), (900.0, "stall"), (1400.0, "container"))  # seconds of running
SECOND_STOPS_AT_S = 200.0
DIALLED_ML_H = 40.0
OTHER_SYRINGE = {"kind": "syringe", "make": "BD", "size_ml": 20, "fill_ml": 20}
OVER = (None, "idle", "ended", "aborted")
GIVES = frozenset({"session.start", "session.resume", "session.finish", "session.restore"})  # what sets a pump going
BEGINS = GIVES - {"session.restore"}
STOPS = frozenset({"session.stop", "session.pause", "pump.stop"})


@dataclass(frozen=True)
class View:
    """What the display shows."""

    phase: str | None
    seeing: bool
    session_id: str | None
    elapsed_s: float
    below_plan: bool
    hold: str
    can_give: bool


@dataclass(frozen=True)
class Chart:
    """What she has done, what she has been told, what she still means to do."""

    patient: int = 0
    session_id: str | None = None
    marks: tuple[tuple[float, str], ...] = MARKS
    wants_syringe: bool = False
    released: bool = False
    finished: bool = False


@dataclass(frozen=True)
class Deed:
    """An order, or a hand at the pump (`verb` "dial" or "stall")."""

    verb: str
    args: dict[str, Any] = field(default_factory=dict)
    confirm: bool = False

    @property
    def at_the_pump(self) -> bool:
        return self.verb in ("dial", "stall")


def next_deed(view: View, chart: Chart) -> tuple[Deed | None, Chart]:
    """What she does now, and her chart with it."""
    if view.session_id != chart.session_id and view.phase not in OVER:
        chart = replace(chart, session_id=view.session_id)  # planned for her patient, and the answer was never heard
    if view.phase in OVER:
        return _between(view, chart)
    if not view.seeing:
        return None, chart
    match view.phase:
        case "planned":
            return Deed("session.arm", {"patient_ref": PATIENTS[chart.patient], "checklist": list(CHECKLIST)}), chart
        case "armed":
            return Deed("session.start", confirm=True), chart
        case "running":
            return _running(view, chart)
        case "paused":
            return _paused(view, chart), chart
        case "observing":
            return Deed("session.end"), chart
    return None, chart


def _between(view: View, chart: Chart) -> tuple[Deed | None, Chart]:
    if chart.session_id is not None and chart.session_id == view.session_id:
        if not chart.released:
            return (Deed("session.release") if view.seeing else None), chart
        if chart.patient + 1 == len(PATIENTS):
            return None, replace(chart, finished=True)
        chart = Chart(patient=chart.patient + 1, session_id=None, marks=())
    return Deed("session.plan", {**PLAN, "patient_ref": PATIENTS[chart.patient]}), chart


def _running(view: View, chart: Chart) -> tuple[Deed | None, Chart]:
    if view.below_plan:
        return Deed("session.restore", confirm=True), chart
    if chart.patient == 1 and view.elapsed_s >= SECOND_STOPS_AT_S:
        return Deed("session.stop"), chart
    if not chart.marks or view.elapsed_s < chart.marks[0][0]:
        return None, chart
    mark, chart = chart.marks[0][1], replace(chart, marks=chart.marks[1:])
    match mark:
        case "pause":
            return Deed("session.pause"), chart
        case "container":
            return Deed("session.pause"), replace(chart, wants_syringe=True)
        case _:
            return Deed(mark), chart


def _paused(view: View, chart: Chart) -> Deed:
    if not view.can_give:
        return Deed("session.end")
    if chart.wants_syringe:
        return Deed("session.container", {"container": OTHER_SYRINGE})
    if "short of the plan" in view.hold:
        return Deed("session.finish", confirm=True)
    return Deed("session.resume", {"pressure_released": True}, confirm=True)


def told(chart: Chart, deed: Deed, answer: dict[str, Any]) -> Chart:
    """Her chart once an answer was heard."""
    if answer["state"] != "done":
        again = "give session.container" in (answer.get("text") or "")
        return replace(chart, wants_syringe=True) if again else chart
    match deed.verb:
        case "session.plan":
            return replace(chart, session_id=answer["session_id"], released=False)
        case "session.container":
            return replace(chart, wants_syringe=False)
        case "session.release":
            return replace(chart, released=True)
    return chart
