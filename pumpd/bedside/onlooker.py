"""A bed that is only watched (S16): nothing is decided. What the pump says is shown, and a person can stop it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from pumpd.bedside.alarm_keeper import AlarmKeeper
from pumpd.bedside.hands import carry_out
from pumpd.bedside.house import House, Setup
from pumpd.bedside.owed import Owed
from pumpd.core import events as ev
from pumpd.core.sight import POWER_LOST
from pumpd.core.state import Sight, State
from pumpd.core.turn import NOT_SENT
from pumpd.line.link import STOP_AGAIN_S, Link
from pumpd.records.recall import Stop


class Onlooker:
    """Takes the events of a bed whose supervision has failed too often."""

    def __init__(
        self, setup: Setup, house: House, link: Link, alarms: AlarmKeeper, owed: Owed, confirm_within_s: float
    ) -> None:
        """A stop that is not read back within `confirm_within_s` wire seconds is an alarm."""
        self._setup, self._house, self._link, self._alarms, self._owed = setup, house, link, alarms, owed
        self._confirm_within_s = confirm_within_s
        self._stops: set[asyncio.Task[None]] = set()

    @property
    def stopping(self) -> bool:
        """A stop was ordered and the pump is not read standing yet."""
        return bool(self._stops)

    def show(self, state: State, event: ev.Event) -> State:
        """What displays show of the bed after `event`."""
        match event:
            case ev.PumpReported(report=report):
                return replace(state, report=report, sight=Sight.SEEING)
            case ev.LinkDown():
                self._alarms.happened("comms_lost_pump")
                return replace(state, report=None, sight=Sight.BLIND)
            case ev.PumpTold(alarm=alarm):
                if alarm.code != POWER_LOST or state.armed_at is not None:  # every pump says so when switched on
                    self._alarms.happened(alarm.code, native=alarm.native)
                    self._owed.keep_told(event)
            case ev.StopOrdered() | ev.PauseOrdered() | ev.PumpStopOrdered():
                self._owed.keep(event)
                self._tell(ev.Answer(event.by.request, "accepted"), state)
                self.stop(state, event)
            case _:
                asker: ev.By | None = getattr(event, "by", None)
                if asker is not None:
                    text = "monitor-only: supervision failed too often; reset that alarm first"
                    self._tell(ev.Answer(asker.request, "rejected", "not_allowed", text), state)
        return state

    def go_on(self, state: State) -> None:
        """Back in a new process: the stops that were ordered and not read back are sent again (S5)."""
        for stop in self._owed.moving():
            self.stop(state, stop)
        if state.halt is not None:
            self.stop(state, None)

    def stop(self, state: State, order: Stop | None) -> None:
        """Begin to stop the pump. `order` is None where the session itself had ordered it."""
        task = asyncio.get_running_loop().create_task(self._until_standing(state, order))
        self._stops.add(task)
        task.add_done_callback(self._stops.discard)

    def close(self) -> None:
        """End the tries. What is owed stays owed."""
        for task in self._stops:
            task.cancel()

    async def _until_standing(self, state: State, order: Stop | None) -> None:
        """S5 without a session's judgement: tried until the pump is read standing, and said aloud when that is late."""
        loud_at = self._house.clock.wire() + self._confirm_within_s
        request = "" if order is None else order.by.request
        told = ""
        while problem := _problem(await carry_out(ev.Halt(NOT_SENT), self._link, self._house.clock.wire)):
            if request and problem != told:
                told = problem
                self._tell(ev.Answer(request, "unknown", text=told), state)
            self._alarms.note("stop_not_confirmed", self._house.clock.wire() >= loud_at)
            await asyncio.sleep(STOP_AGAIN_S)
        self._alarms.note("stop_not_confirmed", False)
        if order is not None:
            self._owed.stands(order)
            self._tell(ev.Answer(request, "done", readback=(("motion", "standing"),)), state)

    def _tell(self, answer: ev.Answer, state: State) -> None:
        self._house.office.answer(answer, self._setup.bed, state)


def _problem(outcome: ev.OrderDone | ev.OrderFailed) -> str:
    """Why the pump is not known to stand, in words; empty when it was read standing."""
    if isinstance(outcome, ev.OrderFailed):
        return outcome.text or outcome.reason
    moves = outcome.report is None or outcome.report.motion.moves
    return "the pump does not stand" if moves else ""
