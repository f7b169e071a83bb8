"""Watches one bed of a campaign from outside: what it thinks, what its alarms say, what its pump truly does."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from pumpd.core import events as ev
from pumpd.core.state import Phase
from simulator.device import Device
from tests.bedside import Bedside
from tests.campaign.kinds import Kind
from tests.campaign.readers import Said
from tests.campaign.verdicts import Figures, RuleBroken
from tests.campaign.volumes import NOBODYS, Volumes
from tests.campaign.wiretap import Context, Sent, Wiretap, judge_orders, judge_setting

NOTICE_S = 8.0  # a wrong motion that is seen is ended within two polls, the retries of a bad line included
LOUD_S = 6.0  # an alarm that a rule demands is on the board by then
SETTLED_S = 8.0  # a standing pump whose limit is not what remains is set within this
GOOD_FOR_S = 4.0  # so long after its last fault a line counts as good
WRONG = (Phase.ENDING, Phase.OBSERVING)
BLIND_CODES = {"comms_lost_pump", "pump_not_proved", "daemon_restarted"}
NEVER = -inf
PRESSURE = ("motor_stalled", "occlusion_downstream")


class Checker:
    """One bed and its own pump. `bed` is another object after each crash of the program; the pump stays."""

    def __init__(
        self,
        seed: int,
        kind: Kind,
        device: Device,
        figures: Figures,
        wire: Callable[[], float],
        guarded: Callable[[Callable[[], None]], None],
    ) -> None:
        """`guarded` runs a check and keeps what it finds from the daemon."""
        self.seed, self.kind, self.device, self.figures, self.wire = seed, kind, device, figures, wire
        self.tap = Wiretap(
            device, kind.reader, lambda *what: guarded(lambda: self._heard(*what)), lambda: guarded(self.sample)
        )
        self.bed: Bedside | None = None
        self.life_ends = False  # the program is dead just now
        self.asleep = False  # the loop stands still just now
        self.told: set[str] = set()
        self.raised_at: dict[str, float] = {}
        self.sent: list[Sent] = []
        self.stalled = False  # the pump told an occlusion, and was not started since
        self.since: dict[str, float] = {}
        self.bad_at = NEVER
        self.owed_since: float | None = None
        self.must_stop = False
        device.advance(wire())
        self.volumes = Volumes(seed, figures, kind, device.truth())
        self.volumes.at = wire()
        self.context = Context()
        self.notice_s, self.loud_s = NOTICE_S + kind.facts.answers_s, LOUD_S + kind.facts.answers_s

    @property
    def alive(self) -> bool:
        """Somebody judges."""
        return not self.life_ends and not self.bed.ward.bed.dead and not self.bed.ward.bed.monitor_only

    def now_is(self) -> Context:
        """What the bed thinks."""
        bed = self.bed.ward.bed
        state = bed.state
        plan = state.plan
        seen = self.alive and not self.asleep and state.sight.value == "seeing"
        if plan is None:
            return Context(seen=seen)
        elapsed = state.elapsed_at(bed.session_now())
        return Context(
            session=state.session_id,
            phase=state.phase.value,
            seen=seen,
            released=state.released,
            counting=state.volumes.last_count is not None and state.phase.value not in NOBODYS,
            halting=state.halt is not None,
            by_pump=state.hold is not None and state.hold.by_pump and state.halt is None,
            rate_ml_h=float(plan.rate_at(elapsed).value),
            plan_ml=float(plan.volume.value),
            step_rates=tuple(float(step.rate.value) for step in plan.steps),
        )

    def sample(self) -> None:
        """Book what happened since the last one, and judge it."""
        now = self.wire()
        self.device.advance(now)
        truth = self.device.truth()
        if truth["faults"] or not (truth["powered"] and truth["connected"] and self.bed.port._plugged):
            self.bad_at = now
        if self.tap.device is not self.device or not self.alive or self.asleep:
            self.bad_at = now
        talk = self.bed.ward.link._talk
        answered = NEVER if self.life_ends or self.tap.device is not self.device else talk.answered_at
        clean = now - self.bad_at > GOOD_FOR_S
        self.volumes.sample(now, truth, self.context, clean=clean, answered_at=answered, raised=self._raised)
        self.must_stop = self.must_stop and truth["infusing"] and not self.life_ends
        if truth["infusing"] and truth["motion"]["started_by"] != "wire":
            self.stalled = False  # somebody stood at the pump and went on
        was, self.context = self.context, self.now_is()
        self._judge_latch(was, truth)

    def _judge_latch(self, was: Context, truth: dict[str, Any]) -> None:
        """A stop is owed until our pump stands; only its own motion counts, for a hand may have started it anew.

        A person may stop whoever is at the port; ours, plugged in elsewhere, is stopped by its phase once back (R2).
        """
        if self.tap.device is not self.device and self.bed.state.phase in WRONG:
            return
        forgotten = was.halting and not self.context.halting and was.session == self.context.session
        if forgotten and self.alive and truth["infusing"] and truth["motion"]["started_by"] == "wire":
            raise RuleBroken("R4", "the stop is forgotten, and the pump moves")

    def fails(self) -> None:
        """The bed's own logic fails just now: its pump has to be stopped (S16)."""
        truth = self.volumes.truth
        self.must_stop = truth["infusing"] and self.context.counting and not self.context.released

    def _raised(self, since: float) -> set[str]:
        return self.told | {code for code, at in self.raised_at.items() if at >= since}

    # --- what passes ---

    def hears(self, event: ev.Event) -> None:
        """An event the bed is about to decide on."""
        if isinstance(event, ev.PumpTold) and event.alarm.code in PRESSURE and self.context.counting:
            self.stalled = True
        if isinstance(event, ev.PumpReported):
            self.volumes.read()
        if isinstance(event, ev.PumpTold) and event.alarm.code == "pump_power_lost" and self.context.counting:
            self.volumes.power_loss_told(self.context)
        if isinstance(event, ev.PlanOrdered):
            self.stalled = False

    def _heard(self, said: Said, at: float, truth: dict[str, Any]) -> None:
        self.sample()
        sent = Sent(at, said, truth, self.context, self.bed.room.journal._durable_seq, self.stalled)
        self.sent.append(sent)
        if said.starts:
            self.stalled = self.must_stop = False
        book = self.volumes.book(self.context)
        foreign = self.tap.device is not self.device and self.context.counting
        rounding = self.kind.accuracy * self.context.plan_ml + self.kind.slack_ml
        given = book.total if self.context.counting else 0.0
        judge_setting(sent, given, book.allowed + rounding, self.kind, foreign=foreign)

    # --- from time to time ---

    def look(self, tell: Callable[[str], None]) -> None:
        """The rules that hold at any moment, or within a time."""
        self.sample()
        good = self.wire() - self.bad_at > GOOD_FOR_S
        self._lasting("I3", "moves on though its bed failed", self.must_stop and good, self.notice_s)
        if not self.alive:
            self.since.clear()
            return
        bed, state, truth = self.bed, self.bed.state, self.volumes.truth
        alarms = bed.ward.bed.alarms.board.alarms
        board = {alarm.code for alarm in alarms if alarm.present}
        if not state.conditions <= board:
            raise RuleBroken("R1", f"conditions without an alarm: {state.conditions - board}")
        for alarm in alarms:
            if alarm.present and alarm.code not in self.told:
                self.raised_at[alarm.code] = self.wire()
                tell(f"ALARM {alarm.code} {dict(alarm.values)}")
        self.told = board
        seeing = state.sight.value == "seeing"
        moves = truth["infusing"] and seeing and good
        wrong = bool(state.session_id) and state.phase in WRONG and not state.released
        self._lasting("R2", f"moves while {state.phase.value}", moves and wrong, self.notice_s)
        blind = state.phase is Phase.RUNNING and not seeing
        self._lasting("R3", "blind without an alarm", blind and not BLIND_CODES & bed.alarms, self.loud_s)
        if state.halt is None or state.halt.since != self.owed_since:  # another stop than the one of the last look
            self.since.pop("R4", None)
        self.owed_since = None if state.halt is None else state.halt.since
        owed = state.halt is not None and "stop_not_confirmed" not in board
        self._lasting("R4", "a stop not confirmed, not told", owed, self.loud_s)
        high = moves and state.phase is Phase.RUNNING and truth["rate_ml_h"] > self.context.rate_ml_h + 1e-6
        self._lasting("R5", "above the plan", high, self.notice_s)
        self._look_at_limit(seeing and good and not truth["infusing"])

    def _look_at_limit(self, stands: bool) -> None:
        state = self.bed.state
        quiet = state.pending is None and state.halt is None and "limit_not_set" not in state.conditions
        judged = stands and quiet and self.context.counting and not state.released
        judged = judged and self.context.phase in ("paused", "observing") and not self.volumes.truth["alarm"]
        since = self.since.setdefault("limit", self.wire()) if judged else self.since.pop("limit", None)
        if judged and since is not None and self.wire() - since > SETTLED_S + self.kind.facts.answers_s:
            self.volumes.judge_limit(self.context)

    def _lasting(self, rule: str, name: str, holds: bool, longest_s: float) -> None:
        if not holds:
            self.since.pop(rule, None)
            return
        began = self.since.setdefault(rule, self.wire())
        lasts = self.wire() - began
        self.figures.measured(f"{rule} s {name.split(' while')[0]}", lasts, longest_s, self.seed)
        if lasts > longest_s:
            raise RuleBroken(rule, f"{name} for {lasts:.1f} s")

    # --- at the end ---

    def judge_journal(self) -> None:
        """Each start and raise on the wire has its order in the journal (I5)."""
        if self.volumes.truth["plunger_ml_by"].get("wire") and not any(sent.said.starts for sent in self.sent):
            raise RuleBroken("I5", "the wire started the pump, and its reader has seen no start")
        rows = list(self.bed.room.journal.rows(bed=self.bed.name))
        self.figures.add("starts and raised rates on the wire", judge_orders(self.sent, rows, self.kind))
