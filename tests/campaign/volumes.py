"""Every drop booked: who moved the plunger, whether pumpd saw it, and how it stands to I1, I2, I3 and I4."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from tests.campaign.kinds import Kind, could_give
from tests.campaign.verdicts import Figures, RuleBroken
from tests.campaign.wiretap import Context

TINY = 1e-6
POLL_S = 1.0
REACTION_S = 2.5  # two polls and the order, on a line that works
REACTION_BAD_LINE_S = 10.0  # blind after 3 s; until then asked again and again, and so is the order
SILENCE_S = 6.0  # from the last answer until we know (3 s), and the margins of the starving pause
TOLD = {
    "rate_above_plan",
    "rate_not_set",
    "infusing_against_plan",
    "unplanned_function",
    "stop_not_confirmed",
    "comms_lost_pump",
    "pump_not_proved",
    "restarted_at_keypad",
    "plan_limit_reached",
    "volumes_apart",
    "volumes_far_apart",
}
NOBODYS = ("idle", "planned")
WHO = {"wire": "orders", "keypad": "hand", "foot switch": "hand", "device fault": "fault"}


@dataclass
class Book:
    """What one session gave, mL."""

    plan_ml: float
    orders: float = 0.0
    others: float = 0.0
    against_seen: float = 0.0  # of the others: in sight, against the plan
    unseen: float = 0.0  # of the others: without sight
    swallowed: float = 0.0  # given unseen, then the counter was lost by a power cut whose alarm a bad line swallowed

    @property
    def total(self) -> float:
        return self.orders + self.others

    @property
    def allowed(self) -> float:
        """What pumpd could not help."""
        return self.against_seen + self.unseen + self.swallowed


@dataclass
class Episode:
    """A hand or a fault moves the pump against the plan, in sight."""

    since: float
    ml: float = 0.0
    rate_ml_h: float = 0.0
    clean: bool = True
    told: bool = False


@dataclass
class Volumes:
    """Of one pump. `sample` is called whenever something may have changed; between two samples nothing did."""

    seed: int
    figures: Figures
    kind: Kind
    truth: dict[str, Any]
    books: dict[str, Book] = field(default_factory=dict)
    episode: Episode | None = None
    unread_ml: float = 0.0  # by our orders since the last reading
    untold_ml: float = 0.0  # of it what a counter has lost, and no alarm has told yet
    silent_ml: float = 0.0
    silent_rate: float = 0.0
    answered_at: float = 0.0
    at: float = 0.0

    def book(self, context: Context) -> Book:
        return self.books.setdefault(context.session, Book(context.plan_ml))

    def sample(
        self,
        now: float,
        truth: dict[str, Any],
        was: Context,
        *,
        clean: bool,
        answered_at: float,
        raised: Callable[[float], Collection[str]],
    ) -> None:
        """The bed was in context `was` since the last sample; `raised(t)` gives the alarms since `t` or standing."""
        before, self.truth = self.truth, truth
        moved = {
            who: ml - before["plunger_ml_by"].get(who, 0.0)
            for who, ml in truth["plunger_ml_by"].items()
            if ml != before["plunger_ml_by"].get(who, 0.0)
        }
        self._conserve(before, truth)
        if was.counting and not was.released:
            self._follow_counter(moved.get("wire", 0.0), before, truth, was)
        against = was.seen and not was.released and self._against(before, was)
        for author, ml in moved.items():
            self._enter(WHO.get(author, author), ml, was, against)
        self._judge_episode(now, sum(ml for who, ml in moved.items() if who != "wire"), before, against, clean, raised)
        self._judge_silence(moved.get("wire", 0.0), before, answered_at)
        self._judge_session(was)
        self.at = now

    # --- bookkeeping ---

    def _enter(self, who: str, ml: float, was: Context, against: bool) -> None:
        place = "no session" if not was.counting or was.released else "seen" if was.seen else "unseen"
        self.figures.add(f"mL by {who}, {place}", ml)
        if place == "no session":
            return
        book = self.book(was)
        if who == "orders":
            book.orders += ml
            return
        book.others += ml
        if place == "unseen":
            book.unseen += ml
        elif against:
            book.against_seen += ml

    def _follow_counter(self, ml: float, before: dict[str, Any], truth: dict[str, Any], was: Context) -> None:
        self.unread_ml += ml
        if truth["infused_ml"] < before["infused_ml"]:
            self.book(was).swallowed += self.unread_ml
            self.untold_ml, self.unread_ml = self.untold_ml + self.unread_ml, 0.0

    def read(self) -> None:
        """A reading has come in."""
        self.unread_ml = self.untold_ml = 0.0

    def power_loss_told(self, was: Context) -> None:
        """Nothing was swallowed this time."""
        self.book(was).swallowed -= self.untold_ml
        self.untold_ml = 0.0

    def _against(self, truth: dict[str, Any], was: Context) -> bool:
        motion = truth["motion"]
        if not truth["infusing"] or motion is None or motion["by"] == "wire" or was.phase in NOBODYS:
            return False
        if was.phase in ("running", "paused") and (was.phase == "running" or was.by_pump):
            return bool(truth["rate_ml_h"] > was.rate_ml_h + TINY)
        return True

    # --- the invariants ---

    def _conserve(self, before: dict[str, Any], truth: dict[str, Any]) -> None:
        pushed, left = truth["plunger_ml"] - before["plunger_ml"], truth["patient_ml"] - before["patient_ml"]
        trapped = max(0.0, before["trapped_ml"])
        self.figures.measured("I4 mL out of the line beyond the plunger", max(0.0, left - pushed), trapped, self.seed)
        if left > pushed + trapped + TINY:
            raise RuleBroken("I4", f"{left} mL reached the patient, pushed were {pushed}, trapped {trapped}")

    def _judge_session(self, was: Context) -> None:
        if not was.counting or was.released:
            return
        book = self.book(was)
        bound = book.plan_ml * (1 + self.kind.accuracy) + self.kind.slack_ml
        self.figures.measured("I1 mL by pumpd's own orders, of the plan", book.orders, bound, self.seed)
        if book.orders > bound + TINY:
            raise RuleBroken("I1", f"{book.orders:.4f} mL by our own orders, planned were {book.plan_ml}")
        margin = was.rate_ml_h * POLL_S / 3600 if book.others else 0.0
        if book.total > bound + book.allowed + margin + TINY:
            text = f"{book.total:.4f} mL altogether, planned were {book.plan_ml}, beyond our help {book.allowed:.4f}"
            raise RuleBroken("I1", text)

    def _judge_episode(
        self,
        now: float,
        ml: float,
        before: dict[str, Any],
        against: bool,
        clean: bool,
        raised: Callable[[float], Collection[str]],
    ) -> None:
        if not against:
            self.episode = None
            return
        episode = self.episode = self.episode or Episode(self.at)
        episode.ml += ml
        episode.clean = episode.clean and clean
        episode.rate_ml_h = max(episode.rate_ml_h, before["rate_ml_h"])
        reaction_s = (REACTION_S if episode.clean else REACTION_BAD_LINE_S) + self.kind.facts.answers_s
        bound = episode.rate_ml_h * reaction_s / 3600
        line = "good" if episode.clean else "bad"
        lasted_s = now - episode.since
        self.figures.measured(f"I2 s against the plan in sight, {line} line", lasted_s, reaction_s, self.seed)
        self.figures.measured(f"I2 mL against the plan in sight, {line} line", episode.ml, bound, self.seed)
        if episode.ml > bound + TINY:
            why = f"{episode.ml:.4f} mL in {lasted_s:.2f} s at {episode.rate_ml_h} mL/h, in sight"
            raise RuleBroken("I2", f"{why}, by {before['motion']['by']}, bound {bound:.4f}")
        if lasted_s > reaction_s and not TOLD.intersection(raised(episode.since)):
            raise RuleBroken("I2", f"against the plan for {lasted_s:.2f} s, and no alarm tells it")

    def _judge_silence(self, ml: float, before: dict[str, Any], answered_at: float) -> None:
        if answered_at > self.answered_at:
            self.answered_at, self.silent_ml, self.silent_rate = answered_at, 0.0, 0.0
        self.silent_ml += ml
        if ml:
            self.silent_rate = max(self.silent_rate, before["rate_ml_h"], self.truth["motion"]["rate_ml_h"])
        watchdog_s = self.kind.pump_watchdog_s
        if watchdog_s is None or not ml:
            return
        if not self.kind.facts.watchdog_minds_keys and self.truth["motion"]["started_by"] != "wire":
            return  # its own limit ends it (docs/devices)
        bound = self.silent_rate * (2 * watchdog_s + SILENCE_S + self.kind.facts.answers_s) / 3600
        self.figures.measured("I3 mL by our orders since the pump's last answer", self.silent_ml, bound, self.seed)
        if self.silent_ml > bound + TINY:
            raise RuleBroken(
                "I3", f"{self.silent_ml:.4f} mL since the pump's last answer, its watchdog allows {bound:.4f}"
            )

    def judge_limit(self, was: Context) -> None:
        """I3: the pump stands in our sight; what a hand could give when sight goes now is what the plan leaves."""
        limit, book, smallest = could_give(self.truth, self.kind), self.book(was), self.kind.facts.smallest_ml
        left = smallest if was.phase == "observing" else book.plan_ml - book.total + book.allowed
        if not 0 < limit <= max(left, smallest) + self.kind.slack_ml + self.kind.accuracy * book.plan_ml + TINY:
            raise RuleBroken(
                "I3", f"{was.phase}: the pump's limit stands at {limit} mL, {left:.4f} mL are left of the plan"
            )
