"""What falls between two looks: keys between two polls, orders over a standstill, an alarm that meets a failing bed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pumpd.bedside import bed as bed_module
from pumpd.bedside.bed import GIVES_MORE_WITHIN_S, Bed
from pumpd.core import events as ev
from tests.bedside import PLANNED_ML, Bedside, Room, ward
from tests.scenario.test_blind import orders_in, starts
from tests.scenario.test_recovery import born_again, journaled


async def just_polled(bed: Bedside) -> None:
    asked = len(bed.port.written)
    await bed.until(lambda: len(bed.port.written) > asked, within_s=3, step_s=0.001)
    await asyncio.sleep(0.1)


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.shows("S1", "S2", "H60", "raised:infusing_against_plan")
@pytest.mark.parametrize("phase", ["paused", "observing", "aborted"])
async def test_a_purge_between_two_polls_of_a_pump_that_must_stand_is_told(phase: str) -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        await bed.order("session.pause" if phase == "paused" else "session.stop")
        await asyncio.sleep(3)
        if phase == "aborted":
            await bed.order("session.end")
        assert bed.phase == phase
        assert "infusing_against_plan" not in bed.alarms
        given = bed.given
        await just_polled(bed)
        bed.key("purge")
        await asyncio.sleep(0.5)
        bed.key("purge")
        await asyncio.sleep(2)
        assert bed.given > given + 0.1, "the attack did nothing"
        assert "infusing_against_plan" in bed.alarms
        assert bed.truth["limit_ml"] <= max(PLANNED_ML - bed.given, 0.001) + 1e-6
        assert not bed.truth["infusing"]


# --- a standstill -----------------------------------------------------------------------------------------------------


@pytest.mark.shows("S11", "S2", "within:GIVES_MORE_WITHIN_S", "beyond:GIVES_MORE_WITHIN_S")
@pytest.mark.parametrize(("gap_s", "carried_out"), [(0.5, True), (GIVES_MORE_WITHIN_S + 1, False), (600, False)])
@pytest.mark.parametrize("verb", ["start", "resume"])
async def test_what_was_ordered_before_a_standstill_of_the_program_is_not_begun_after_it(
    verb: str, gap_s: float, carried_out: bool
) -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await (bed.armed() if verb == "start" else bed.running())
        if verb == "resume":
            await bed.until_session(60)
            await bed.order("session.pause")
        await asyncio.sleep(3)
        told_to_run = starts(bed)
        bed.do("fault", kind="delay", delay_s=0.01)
        answer = asyncio.create_task(bed.order(f"session.{verb}", confirm=True, wait_s=1000))
        await asyncio.sleep(0.02)
        assert starts(bed) == told_to_run, "still being loaded"
        bed.room.clock._loop._virtual.now += gap_s
        assert (await answer)["state"] == ("done" if carried_out else "failed")
        await asyncio.sleep(20)
        assert (starts(bed) > told_to_run) is carried_out
        assert bed.truth["infusing"] is carried_out


@pytest.mark.shows("S11", "S2")
async def test_a_higher_rate_that_was_ordered_before_a_standstill_is_not_set_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        bed.do("set_rate", ml_h=20.0)
        await bed.until(lambda: "rate_below_plan" in bed.alarms, within_s=5)
        slow = bed.truth["rate_ml_h"]
        carry = Bed._carry

        async def stands_still(self: Bed, order: ev.Order, since: float) -> None:
            if isinstance(order, ev.SetRate):
                self.house.clock._loop._virtual.now += GIVES_MORE_WITHIN_S + 1
            await carry(self, order, since)

        monkeypatch.setattr(Bed, "_carry", stands_still)
        answer = await bed.order("session.restore", given={"rate_ml_h": "46.66"}, wait_s=30)
        assert (answer["state"], answer["reason"]) == ("failed", "expired")
        assert bed.truth["rate_ml_h"] <= slow


# --- one that hears us and is not heard ------------------------------------------------------------------------------


@pytest.mark.shows("S16")
@pytest.mark.parametrize("paused", [False, True])
async def test_a_pump_that_is_not_heard_and_started_at_its_keypad_is_not_fed_for_ever(paused: bool) -> None:
    bed = Bedside(Room(), watchdog_s=10)
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        if paused:
            await bed.order("session.pause")
            await asyncio.sleep(3)
        bed.do("mute")
        await asyncio.sleep(60)
        assert not bed.truth["infusing"]
        bed.key("run")
        assert bed.truth["infusing"], "the attack did nothing"
        given, began = bed.given, bed.room.clock.wire()
        await asyncio.sleep(120)
        assert not bed.truth["infusing"], "its own watchdog has stopped it"
        assert bed.given - given <= 46.67 * (2 * 10 + 6) / 3600
        asked = [at for at, _ in bed.port.written if at >= began]
        assert max(later - earlier for earlier, later in pairwise(asked)) > 10, "and it is asked on"


async def test_a_pump_of_no_session_that_is_switched_on_late_is_found_at_once() -> None:
    bed = Bedside(Room(), watchdog_s=10)
    async with ward(bed):
        bed.do("power_off")
        await asyncio.sleep(600)
        bed.do("power_on")
        assert await bed.until(lambda: bed.ward.link.ready, within_s=10) < 3


# --- a failing bed ----------------------------------------------------------------------------------------------------


def fail_at(monkeypatch: pytest.MonkeyPatch, kind: type[Any]) -> None:
    """The first event of this kind ends the bed, in the midst of its decision."""
    decide, failed = bed_module.decide, list[ev.Event]()

    def failing(state: Any, event: ev.Event, now: float) -> Any:
        if isinstance(event, kind) and not failed:
            failed.append(event)
            raise RuntimeError("a fault in the logic")
        return decide(state, event, now)

    monkeypatch.setattr(bed_module, "decide", failing)


@pytest.mark.shows("S16", "H60")
async def test_an_alarm_of_the_pump_that_ends_a_bed_is_heard_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        fail_at(monkeypatch, ev.PumpTold)
        bed.do("stall")
        await bed.until(lambda: "bed_failed" in bed.alarms, within_s=10)
        await bed.until(lambda: bed.phase == "paused", within_s=20)
        assert "motor_stalled" in bed.alarms
        refused = await bed.order("session.resume", confirm=True)
        assert refused["reason"] == "not_confirmed", "the line may be under pressure"
        assert "pressure" in refused["text"]


@pytest.mark.shows("S5", "S16")
@pytest.mark.parametrize(("verb", "kind"), [("session.pause", ev.PauseOrdered), ("session.stop", ev.StopOrdered)])
async def test_a_stop_that_ends_a_bed_is_carried_out_by_the_next(
    monkeypatch: pytest.MonkeyPatch, verb: str, kind: type[Any]
) -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        fail_at(monkeypatch, kind)
        answer = await bed.order(verb, wait_s=20)
        assert "bed_failed" in bed.alarms
        assert answer["state"] == "done"
        assert not bed.truth["infusing"]
        assert bed.phase in ("paused", "ending", "observing")


@pytest.mark.shows("S15", "S16")
async def test_a_bed_that_fails_while_another_pump_is_plugged_in_stops_neither_and_finds_its_own_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room = Room()
    bed, other = Bedside(room, "one"), Bedside(room, "two", version="NE1000V3.55")
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        await bed.order("session.pause")
        await asyncio.sleep(3)
        bed.port.plug_out()
        own, bed.port.peer = bed.port.peer, other.port.peer
        bed.port.plug_in()
        await bed.until(lambda: "pump_not_proved" in bed.alarms, within_s=10)
        sent = len(bed.port.sent)
        bed.ward.bed.break_down(RuntimeError("a fault in the logic"))
        await asyncio.sleep(30)
        assert not orders_in(bed, sent), "another pump gets no word"
        bed.port.plug_out()
        bed.port.peer = own
        bed.port.plug_in()
        await bed.until(lambda: "pump_not_proved" not in bed.state.conditions, within_s=40)
        assert (await bed.order("session.stop", wait_s=10))["state"] == "done"


@pytest.mark.shows("S16")
async def test_a_bed_that_fails_while_damage_on_the_line_has_made_its_pump_a_stranger_stops_it_once_known_again() -> (
    None
):
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        ours = bed.state.ours
        assert ours is not None
        bed.ward.bed.feed(ev.LinkDown("no reply"))
        bed.ward.bed.feed(ev.LinkUp(replace(ours, model="NE100")))  # a digit was lost
        assert "pump_not_proved" in bed.state.conditions
        bed.ward.bed.break_down(RuntimeError("a fault in the logic"))
        await bed.until(lambda: not bed.truth["infusing"], within_s=5)
        await bed.until(lambda: bed.phase == "paused", within_s=10)


@pytest.mark.shows("S16")
async def test_a_port_that_blinks_does_not_feed_a_pump_that_is_not_heard() -> None:
    bed = Bedside(Room(), watchdog_s=10)
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        bed.do("mute")
        given = bed.given
        for _ in range(12):
            await asyncio.sleep(5)
            bed.port.plug_out()
            await asyncio.sleep(0.3)
            bed.port.plug_in()
        assert not bed.truth["infusing"]
        assert bed.given - given <= 46.67 * (2 * 10 + 6) / 3600
        bed.do("clear_faults")
        await bed.until(lambda: bed.state.sight.value == "seeing", within_s=15)


@pytest.mark.shows("S15", "S16")
async def test_after_a_lapse_another_pump_behind_the_port_is_not_fed() -> None:
    """It may be infusing for the next bed: our questions would keep it going unwatched."""
    room = Room()
    bed, other = Bedside(room, "one"), Bedside(room, "two", version="NE1000V3.55")
    async with ward(bed, other):
        for each in (bed, other):
            await each.running()
        await bed.until_session(60)
        for each in (bed, other):
            each.port.plug_out()
        bed.ward.bed.break_down(RuntimeError("a fault in the logic"))
        await asyncio.sleep(1)
        bed.port.peer = other.device
        bed.port.plug_in()
        given = other.given
        await asyncio.sleep(25)
        assert not other.truth["infusing"], "its own watchdog has stopped it"
        assert other.given - given <= 46.67 * (10 + 4) / 3600


@pytest.mark.shows("S16", "S10")
@pytest.mark.parametrize("died_at_s", [4.0, 19.0])
async def test_a_new_process_does_not_break_the_silence_of_the_one_before(died_at_s: float, tmp_path: Path) -> None:
    """It does not hear the pump either; from the last reading on two watchdogs are the most, whoever asks."""
    path = tmp_path / "j.sqlite3"
    room = journaled(path)
    bed = Bedside(room, watchdog_s=10)
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        bed.do("mute")
        given = bed.given
        await asyncio.sleep(died_at_s)
    again = born_again(bed, path, clock=room.clock)
    living = asyncio.create_task(again.ward.run())
    await asyncio.sleep(60)
    assert not again.truth["infusing"]
    assert again.given - given <= 46.67 * (2 * 10 + 6) / 3600
    again.do("clear_faults")
    await again.until(lambda: again.state.sight.value == "seeing", within_s=15)
    living.cancel()
    await asyncio.gather(living, return_exceptions=True)
