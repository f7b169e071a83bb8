"""Listens on the wire between a port and the pump, and judges what gives more (I5).

It reads the bytes by itself, from the pump's protocol, knows the truth of the pump at that moment, and holds each order
against the journal at the end: the row was there, on the disk, before the first byte left.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pumpd.records.journal import Row
from simulator.device import Device
from tests.campaign.kinds import Kind, could_give, told_limit
from tests.campaign.readers import Reader, Said
from tests.campaign.verdicts import RuleBroken

ORDER_TAKES_S = 10.0  # from the journaled decision to the last byte of it, bad lines included
TINY = 1e-6
HUMAN_BEGINS = ("StartOrdered", "ResumeOrdered", "FinishOrdered")
HUMAN_RAISES = ("RestoreOrdered", "RateOrdered")


@dataclass(frozen=True)
class Context:
    """What the bed thought at a moment, as far as the checks need it."""

    session: str = ""
    phase: str = "idle"
    seen: bool = False
    released: bool = False
    counting: bool = False  # armed: what is given belongs to the session
    by_pump: bool = False  # paused by a hand at the pump or by its own alarm
    rate_ml_h: float = 0.0  # of the plan, now
    plan_ml: float = 0.0
    halting: bool = False  # a stop is owed
    step_rates: tuple[float, ...] = ()


@dataclass(frozen=True)
class Sent:
    """An order on the wire, the pump's truth just before, and how far the journal was on the disk."""

    at: float
    said: Said
    truth: dict[str, Any]
    context: Context
    durable_seq: int
    after_stall: bool


class Wiretap:
    """Stands where the device stands; another device can be plugged in behind it."""

    def __init__(
        self,
        device: Device,
        read: Reader,
        heard: Callable[[Said, float, dict[str, Any]], None],
        done: Callable[[], None],
    ) -> None:
        self.device, self._read, self._heard, self._done = device, read, heard, done

    def receive(self, data: bytes, at: float) -> None:
        told = list(self._read(data))
        for said in told:
            self.device.advance(at)
            self._heard(said, at, self.device.truth())
        self.device.receive(data, at)
        if told:
            self._done()

    def advance(self, at: float) -> None:
        self.device.advance(at)

    def outgoing(self, at: float) -> bytes:
        return self.device.outgoing(at)

    def next_wake(self, at: float) -> float | None:
        return self.device.next_wake(at)

    @property
    def connected(self) -> bool:
        return self.device.connected


def judge_setting(sent: Sent, given_ml: float, allowed_ml: float, kind: Kind, *, foreign: bool) -> None:
    """What can be judged at once. The session gave `given_ml`; `allowed_ml` of it pumpd could not help."""
    said, context = sent.said, sent.context
    if not said.sets:
        unminded = said.disarms or (said.lets_go and sent.truth["infusing"])
        if unminded and context.counting and not context.released and context.phase in MINDED:
            raise RuleBroken("I3", f"{said.text}: the watchdog is disarmed in a session ({context.phase})")
        return
    if foreign:
        raise RuleBroken("I5", f"{said.text}: an order for another pump than the one that was armed")
    if context.released and context.phase != "planned":
        raise RuleBroken("I5", f"{said.text}: an order to a pump that was released")
    if said.never:
        raise RuleBroken("I5", f"{said.text} is never ordered")
    if said.starts or said.limit_ml is not None:
        in_pump = said.limit_ml is None
        limit = could_give(sent.truth, kind) if in_pump else told_limit(float(said.limit_ml or 0), sent.truth, kind)
        if limit == 0:
            raise RuleBroken("I1", f"{said.text} without any limit")
        left = context.plan_ml - given_ml + allowed_ml
        if limit > kind.facts.smallest_ml + kind.facts.limit_grain_ml and limit > left + kind.facts.limit_grain_ml:
            raise RuleBroken(
                "I1", f"the pump's limit is set to {limit} mL, and only {left:.4f} mL of the plan are left"
            )


MINDED = ("armed", "running", "paused", "ending", "recovering")


def judge_orders(sent: Iterable[Sent], rows: Iterable[Row], kind: Kind) -> int:
    """Hold every start and every raised rate against the journal of the bed; gives how many there were."""
    begins, raises, halts = _orders_in(rows)
    count, used = 0, set[int]()
    for one in sent:
        rate = one.said.rate_ml_h
        if one.said.starts:
            count += 1
            _judge_start(one, begins, halts, used, kind)
        elif rate is not None and one.truth["infusing"] and rate > one.truth["rate_ml_h"] + TINY:
            count += 1
            _judge_raise(one, rate, raises, halts)
    return count


@dataclass(frozen=True)
class _Ordered:
    seq: int
    at: float
    kind: str
    event: dict[str, Any]
    what: dict[str, Any]


def _orders_in(rows: Iterable[Row]) -> tuple[list[_Ordered], list[_Ordered], list[tuple[int, float]]]:
    begins, raises, halts = [], [], []
    for row in rows:
        if '"is":"Begin"' not in row.data and '"is":"SetRate"' not in row.data and '"is":"Halt"' not in row.data:
            continue
        written = json.loads(row.data)
        for effect in written.get("effects", ()):
            ordered = _Ordered(row.seq, row.wire, row.kind, written["event"], effect["what"])
            if effect["is"] == "Begin":
                begins.append(ordered)
            elif effect["is"] == "SetRate" and effect["what"]["raises"]:
                raises.append(ordered)
            elif effect["is"] == "Halt":
                halts.append((row.seq, row.wire))
    return begins, raises, halts


def _judge_start(one: Sent, begins: list[_Ordered], halts: list[tuple[int, float]], used: set[int], kind: Kind) -> None:
    fitting = [order for order in begins if order.at <= one.at <= order.at + ORDER_TAKES_S and order.seq not in used]
    if not fitting:
        raise RuleBroken("I5", f"{one.said.text} at {one.at:.2f} without an order to start in the journal")
    order = fitting[-1]
    used.add(order.seq)
    _judge_row(one, order, halts)
    rate, limit = _number(order.what["rate"]), _number(order.what["limit"])
    confirm = order.event.get("confirm") or {}
    if order.kind not in HUMAN_BEGINS or not order.event["by"]["actor"]:
        raise RuleBroken("I5", f"{order.kind} started the pump at {one.at:.2f}")
    if (_number(confirm.get("rate")), _number(confirm.get("volume"))) != (rate, limit):
        raise RuleBroken("I5", f"started with {rate} mL/h and {limit} mL, confirmed was {confirm}")
    if one.after_stall and not order.event.get("pressure_released"):
        raise RuleBroken("I4", "started after an occlusion, and nobody said that the pressure was released")
    if not 0 < (in_pump := could_give(one.truth, kind)) <= limit + kind.facts.limit_grain_ml:
        raise RuleBroken("I1", f"started with the limit {in_pump} mL in the pump, ordered was {limit}")
    if one.truth["set_rate_ml_h"] > rate + TINY:
        raise RuleBroken("I5", f"started at {one.truth['set_rate_ml_h']} mL/h, ordered was {rate}")


def _judge_raise(one: Sent, rate: float, raises: list[_Ordered], halts: list[tuple[int, float]]) -> None:
    fitting = [
        order
        for order in raises
        if order.at <= one.at <= order.at + ORDER_TAKES_S and abs(_number(order.what["rate"]) - rate) < TINY
    ]
    if not fitting:
        now = one.truth["rate_ml_h"]
        raise RuleBroken("I5", f"{one.said.text} at {one.at:.2f} raises {now} mL/h without an order in the journal")
    order = fitting[-1]
    _judge_row(one, order, halts)
    if order.kind in HUMAN_RAISES:
        if _number((order.event.get("confirm") or {}).get("rate")) != _number(order.what["rate"]):
            raise RuleBroken("I5", f"raised to {rate} mL/h without that rate confirmed")
    elif not _is_next_step(one.context.step_rates, one.truth["rate_ml_h"], rate):
        raise RuleBroken("I5", f"{order.kind} raised the rate to {rate} mL/h, which is no step of the plan")


def _is_next_step(steps: tuple[float, ...], now: float, to: float) -> bool:
    """The plan itself goes from the one rate to the other, in this order."""
    ends = [index for index, step in enumerate(steps) if abs(step - to) < TINY]
    return any(abs(step - now) < TINY for index, step in enumerate(steps) if ends and index < ends[-1])


def _judge_row(one: Sent, order: _Ordered, halts: list[tuple[int, float]]) -> None:
    if order.seq > one.durable_seq:
        raise RuleBroken("I5", f"{one.said.text} left at {one.at:.2f} before its decision was on the disk")
    if any(order.seq < seq and at < one.at for seq, at in halts):
        raise RuleBroken("I5", f"{one.said.text} at {one.at:.2f} follows a STOP that is younger than its order")


def _number(quantity: str | None) -> float:
    return float("nan") if quantity is None else float(quantity.split()[0])
