"""Carries out one order of the session on a link, and says what became of it.

An order is a dialogue of the driver, put together here so that nothing of the family is known: prove the pump, load it,
start it, read it back. What could not be read back is *uncertain*, never failed (S4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pumpd.core import events as ev
from pumpd.core.sight import differs
from pumpd.driver import (
    Dialogue,
    Differs,
    Garbled,
    Identity,
    Preempted,
    Programme,
    Pump,
    PumpError,
    PumpReport,
    Refused,
    Settings,
    Silent,
    Uncertain,
)
from pumpd.line.link import Link, NotConnected
from pumpd.units import MlPerHour

T = TypeVar("T")


class Late(PumpError):
    """The order was given too long ago: whoever gave it does not expect it any more (S11, S12)."""


REASONS: dict[type[PumpError], str] = {
    Differs: "differs",
    Refused: "refused",
    Garbled: "garbled",
    Silent: "silent",
    Uncertain: "uncertain",
    Preempted: "preempted",
    Late: "expired",
    NotConnected: "link_lost",
}


async def carry_out(
    order: ev.Order, link: Link, session_now: Callable[[], float], in_time: Callable[[], bool] = lambda: True
) -> ev.OrderDone | ev.OrderFailed:
    """Run `order` to its end. Never raises a PumpError: what became of it is in the outcome.

    `in_time` is asked before anything that lets more flow: after a standstill of the program the order may be too old.
    """
    told: list[float] = []  # when the pump was told to run, if it was
    begun: list[float] = []  # when the first byte of the order may have left, if it did

    def tell() -> None:
        if not in_time():
            raise Late("the program stood still in between: nobody expects it any more; order it again")
        told.append(session_now())

    def noted(dialogue: Callable[[], Dialogue[T]]) -> Callable[[], Dialogue[T]]:
        def run() -> Dialogue[T]:
            begun.append(session_now())
            return (yield from dialogue())

        return run

    try:
        match order:
            case ev.Halt():
                report = await link.perform(link.pump.stop, fence=True)
                return ev.OrderDone(order.number, session_now(), report)
            case ev.Arm():
                report, identity, settings = await link.perform(noted(lambda: _arm(link.pump, order)))
                link.recognise(identity)  # arming changes what the pump was known by
                return ev.OrderDone(order.number, session_now(), report, identity, settings)
            case ev.Begin():
                report = await link.perform(noted(lambda: _begin(link.pump, order, tell)))
                return ev.OrderDone(order.number, told[-1], report)
            case ev.SetRate():
                rate = await link.perform(noted(lambda: _set_rate(link.pump, order, tell)))
                if rate != order.rate:
                    raise Differs("rate", str(order.rate), str(rate))
                return ev.OrderDone(order.number, session_now())
            case ev.Tighten():
                report = await link.perform(noted(lambda: link.pump.load(order.rate, order.limit)))
                return ev.OrderDone(order.number, session_now(), report)
            case ev.Release():
                await link.perform(link.pump.release)
                return ev.OrderDone(order.number, session_now())
    except PumpError as error:
        return _failed(order, error, bool(begun))
    raise AssertionError(f"no such order: {order}")


def _failed(order: ev.Order, error: PumpError, begun: bool) -> ev.OrderFailed:
    """An order that was begun and not ended may have changed the pump (S4), unless the pump itself said no."""
    uncertain = begun and not isinstance(error, (Refused, Late))
    reason = next((REASONS[cls] for cls in type(error).__mro__ if cls in REASONS), "failed")
    return ev.OrderFailed(order.number, reason, str(error), uncertain)


def _arm(pump: Pump, order: ev.Arm) -> Dialogue[tuple[PumpReport, Identity, Settings]]:
    programme = Programme(order.container, order.rate, order.limit, order.keypad_lock)
    settings = yield from pump.arm(programme)
    report = yield from pump.load(order.rate, order.limit)
    identity = yield from pump.connect()
    return report, identity, settings


def _set_rate(pump: Pump, order: ev.SetRate, tell: Callable[[], None]) -> Dialogue[MlPerHour]:
    if order.raises:
        tell()
    return (yield from pump.set_rate(order.rate))


def _begin(pump: Pump, order: ev.Begin, tell: Callable[[], None]) -> Dialogue[PumpReport]:
    identity = yield from pump.connect()
    difference = differs(order.identity, identity)
    if difference:
        raise Differs("pump", "the one that was armed", difference)
    settings = yield from pump.settings()
    for (name, wanted), (_, got) in zip(order.settings, settings, strict=True):
        if wanted != got:
            raise Differs(name, wanted, got)
    yield from pump.load(order.rate, order.limit)
    tell()
    yield from pump.start()
    return (yield from pump.read())
