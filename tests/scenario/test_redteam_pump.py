"""Attacks from the pump, the wire, the keypad, the clock and the disk; each tries to break the rule that it names."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pumpd.bedside.bed import UNJUDGED_MOST_S
from pumpd.core import events as ev
from simulator.device import Device
from simulator.families.newera import safe_packet
from tests.bedside import PLANNED_ML, Bedside, Room, ward, weighing
from tests.scenario.test_blind import orders_in, starts
from tests.scenario.test_islands import Disk, room_with
from tests.scenario.test_recovery import born_again, journaled

Lie = Callable[[str], str]


class Liar:
    """A pump whose answers are changed on their way, with a right checksum. Address and state letter stand in front."""

    def __init__(self, device: Device, lie: Lie) -> None:
        self.device, self.lie = device, lie

    @property
    def connected(self) -> bool:
        return self.device.connected

    def advance(self, at: float) -> None:
        self.device.advance(at)

    def receive(self, data: bytes, at: float) -> None:
        self.device.receive(data, at)

    def next_wake(self, at: float) -> float | None:
        return self.device.next_wake(at)

    def outgoing(self, at: float) -> bytes:
        said, lies = self.device.outgoing(at), b""
        while said:
            if said[1] < 0x30:
                size = said[1] + 1
                packet, said = said[:size], said[size:]
                lies += safe_packet(self.lie(packet[2:-3].decode()).encode())
            else:
                packet, _, said = said.partition(b"\x03")
                lies += b"\x02" + self.lie(packet[1:].decode()).encode() + b"\x03"
        return lies


def deceive(bed: Bedside, lie: Lie) -> None:
    bed.port.peer = Liar(bed.device, lie)
    if bed.port._pipe is not None:
        bed.port._pipe._peer = bed.port.peer


def honest(bed: Bedside) -> None:
    bed.port.peer = bed.device
    if bed.port._pipe is not None:
        bed.port._pipe._peer = bed.device


COUNTER = re.compile(r"I[\d.]+W[\d.]+(?:ML|UL)$")


# --- answers come, and none can be judged ---


NONSENSE: dict[str, Lie] = {
    "a state never seen": lambda text: text[:2] + "Z" + text[3:],
    "a counter that is no number": lambda text: COUNTER.sub("I?W?ML", text),
    "a rate that is no number": lambda text: re.sub(r"[\d.]+MH", "XX", text),
    "damaged questions": lambda text: text[:3] + "?COM",
}


@pytest.mark.shows("S7", "S16", "within:UNJUDGED_MOST_S", "beyond:UNJUDGED_MOST_S")
@pytest.mark.parametrize("mode", ["safe", "basic"])
@pytest.mark.parametrize("what", NONSENSE)
async def test_a_pump_whose_answers_cannot_be_judged_is_loud_and_stopped(what: str, mode: str) -> None:
    """Each question feeds its watchdog: without a stop it would be fed, unjudged, up to its limit."""
    bed = Bedside(Room(), mode=mode)
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        deceive(bed, NONSENSE[what])
        began = bed.room.clock.wire()
        await bed.until(lambda: "comms_lost_pump" in bed.alarms, within_s=4)
        await asyncio.sleep(began + UNJUDGED_MOST_S - 1.5 - bed.room.clock.wire())
        assert bed.truth["infusing"], "a shorter spell costs nothing"
        await bed.until(lambda: not bed.truth["infusing"], within_s=3)
        honest(bed)
        await bed.until(lambda: bed.state.sight.value == "seeing" and bed.state.halt is None, within_s=20)
        assert bed.phase == "paused"
        assert starts(bed) == 1


@pytest.mark.shows("S16")
async def test_a_pump_that_is_not_heard_is_not_fed_because_another_address_answers() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        bed.do("mute")
        began = bed.room.clock.wire()
        while bed.truth["infusing"]:
            bed.port.inject(safe_packet(b"07S"))
            await asyncio.sleep(0.7)
            assert bed.room.clock.wire() - began < 3 + 2 * 10, "the watchdog twice, and the time to notice"
        assert "comms_lost_pump" in bed.alarms


@pytest.mark.shows("S7", "S16")
async def test_a_pump_that_is_not_heard_is_not_fed_because_the_line_echoes() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        bed.do("mute")
        bed.do("fault", kind="echo")
        await bed.until(lambda: "comms_lost_pump" in bed.alarms, within_s=3.5)
        await bed.until(lambda: not bed.truth["infusing"], within_s=2 * 10)


@pytest.mark.shows("S5")
@pytest.mark.parametrize("what", NONSENSE)
async def test_a_stop_reaches_a_pump_whose_answers_cannot_be_judged(what: str) -> None:
    """S5: only a reading would prove the pump and send the stop that is owed, and no reading comes."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        deceive(bed, NONSENSE[what])
        await bed.until(lambda: "comms_lost_pump" in bed.alarms, within_s=4)
        await asyncio.sleep(1)
        await bed.order("session.stop", wait_s=1)
        await bed.until(lambda: not bed.truth["infusing"], within_s=3)
        honest(bed)
        await bed.until(lambda: bed.phase == "observing", within_s=20)


# --- a stop cuts an order, and the cable is out before the stop is read back ---


async def cut(bed: Bedside, verb: str, after_s: float, **args: Any) -> None:
    """Order it, end the session so many seconds later, pull the plug at once and put it back."""
    bed.do("fault", kind="delay", delay_s=0.002)
    asking = asyncio.create_task(bed.order(verb, **args))
    await asyncio.sleep(after_s)
    stopping = asyncio.create_task(bed.order("session.stop"))
    await asyncio.sleep(0.0005)
    bed.port.plug_out()
    await asyncio.sleep(2)
    bed.port.plug_in()
    await asyncio.gather(asking, stopping)
    await asyncio.sleep(10)


@pytest.mark.shows("S5", "S15")
@pytest.mark.parametrize("after_ms", [20, 40, 60, 100])
@pytest.mark.parametrize("mode", ["safe", "basic"])
async def test_a_resume_cut_by_a_stop_makes_no_stranger_of_our_pump(mode: str, after_ms: int) -> None:
    """It may run at the new rate and limit already: the stop that is owed must reach it."""
    bed = Bedside(Room(), mode=mode)
    async with ward(bed):
        await bed.running()
        await bed.until_session(600)
        assert (await bed.order("session.pause"))["state"] == "done"
        await asyncio.sleep(120)
        offer = (await bed.order("session.resume", mode="recalculate"))["text"]
        found = re.search(r"rate ([\d.]+).*volume ([\d.]+)", offer)
        assert found is not None
        given = {"rate_ml_h": found[1], "volume_ml": found[2]}
        await cut(bed, "session.resume", after_ms / 1000, mode="recalculate", given=given)
        assert "pump_not_proved" not in bed.raised
        assert bed.phase == "observing"
        assert not bed.truth["infusing"]


@pytest.mark.shows("S5", "S15")
@pytest.mark.parametrize("after_ms", [2, 5, 12])
async def test_a_rate_cut_by_a_stop_makes_no_stranger_of_our_pump(after_ms: int) -> None:
    bed = Bedside(Room(), mode="basic")
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        await cut(bed, "rate.set", after_ms / 1000, rate_ml_h="40.00", given={"rate_ml_h": "40.00"})
        assert "pump_not_proved" not in bed.raised
        assert bed.phase == "observing"
        assert not bed.truth["infusing"]


@pytest.mark.shows("S15")
@pytest.mark.parametrize("after_ms", [5, 15, 40, 80])
async def test_another_container_cut_by_a_stop_makes_no_stranger_of_our_pump(after_ms: int) -> None:
    """Its diameter may be in the pump, which then has lost its counter, too."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running(**weighing(40))
        await bed.until_session(300)
        assert (await bed.order("session.pause"))["state"] == "done"
        await asyncio.sleep(3)
        syringe = {"kind": "syringe", "make": "BD", "size_ml": 20, "fill_ml": 20}
        await cut(bed, "session.container", after_ms / 1000, container=syringe)
        assert "pump_not_proved" not in bed.raised
        assert bed.phase == "observing"


# --- at the keypad, between two polls ---


async def next_reading(bed: Bedside) -> None:
    """Wait for the next poll to come in."""
    before = bed.ward.bed.heard_ago_ms() or 0
    while (ago := bed.ward.bed.heard_ago_ms() or 0) >= before:
        before = ago
        await asyncio.sleep(0.001)


@pytest.mark.shows("S3")
async def test_a_resume_that_waited_for_the_disk_does_not_undo_a_stop_at_the_keypad(tmp_path: Path) -> None:
    """S3: while it waits somebody starts the pump at its keypad, so it is given up; and then stops it there."""
    disk = Disk()
    bed = Bedside(room_with(disk, tmp_path / "j.sqlite3"))
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        bed.key("stop")
        await bed.until(lambda: bed.phase == "paused", within_s=2)
        await asyncio.sleep(3)
        await next_reading(bed)
        await asyncio.sleep(0.75)
        disk.blocked = True
        asking = asyncio.create_task(bed.order("session.resume", confirm=True))
        await asyncio.sleep(0.01)
        bed.key("run")
        await next_reading(bed)
        assert bed.phase == "running"
        bed.key("stop")
        disk.blocked = False
        assert (await asking)["state"] == "failed"
        await asyncio.sleep(5)
        assert starts(bed) == 1
        assert bed.phase == "paused"
        assert not bed.truth["infusing"]


# --- nobody's pump that answers and cannot be read ---


@pytest.mark.shows("S7")
@pytest.mark.parametrize("mode", ["safe", "basic"])
async def test_without_a_session_too_a_pump_that_cannot_be_read_is_said_to_be_unseen(mode: str) -> None:
    bed = Bedside(Room(), mode=mode)
    async with ward(bed):
        assert (await bed.planned())["state"] == "done"
        deceive(bed, NONSENSE["a counter that is no number"])
        await bed.until(lambda: "pump_not_connected" in bed.alarms, within_s=4)
        for _ in range(100):
            await asyncio.sleep(0.1)
            assert "pump_not_connected" in bed.alarms
            assert bed.state.sight.value == "blind"
        bed.port.plug_out()
        await asyncio.sleep(1)
        bed.port.plug_in()
        await asyncio.sleep(5)
        assert bed.state.sight.value == "blind", "who answers is known again, and nothing can be read"
        honest(bed)
        await bed.until(lambda: bed.state.sight.value == "seeing", within_s=5)
        assert "pump_not_connected" not in bed.state.conditions


async def limit_begun_anew(bed: Bedside) -> None:
    """At 90 percent, within one poll: two stops and a run at the keypad. Nobody can read that off the pump."""
    await bed.until(lambda: bed.given >= 0.9 * PLANNED_ML, step_s=0.5)
    await next_reading(bed)
    for key in ("stop", "stop", "run"):
        bed.key(key)
    await next_reading(bed)
    assert bed.state.limit_covers


@pytest.mark.shows("S1")
async def test_rates_dialled_up_and_down_between_polls_do_not_pass_the_dose() -> None:
    """The rate that was read says less than the counter: the wider bound counts, and the pump's limit ends nothing."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await limit_begun_anew(bed)
        for _ in range(5):
            bed.do("set_rate", ml_h=150.0)
            await asyncio.sleep(0.9)
            bed.do("set_rate", ml_h=46.66)
            await next_reading(bed)
        assert "rate_above_plan" not in bed.raised
        await bed.until(lambda: not bed.truth["infusing"], step_s=1)
        assert PLANNED_ML * 0.999 < bed.given <= PLANNED_ML + 1e-9


@pytest.mark.shows("S1")
async def test_answers_just_within_their_time_do_not_pass_the_dose() -> None:
    """The counter was read almost a second before its reading is judged."""
    bed = Bedside(Room(), mode="basic")
    async with ward(bed):
        await bed.running()
        bed.do("fault", kind="delay", delay_s=0.45)
        await limit_begun_anew(bed)
        await bed.until(lambda: not bed.truth["infusing"], step_s=1)
        assert PLANNED_ML * 0.999 < bed.given <= PLANNED_ML + 1e-9


# --- something else than was armed ---


def set_diameter_at_the_pump(bed: Bedside, text: str) -> None:
    bed.device.advance(bed.room.clock.wire())
    bed.device._panel.set_diameter(text)


@pytest.mark.shows("S15", "S3")
@pytest.mark.parametrize("mode", ["safe", "basic"])
async def test_another_diameter_set_at_the_pump_is_told_before_more_flows_unseen(mode: str) -> None:
    """S15: counter, rate and plan would agree, and the patient would get three quarters more."""
    bed = Bedside(Room(), mode=mode)
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        bed.key("stop")
        await bed.until(lambda: bed.phase == "paused", within_s=2)
        await asyncio.sleep(2)
        set_diameter_at_the_pump(bed, "20.00")
        bed.key("run")
        given = bed.given
        await bed.until(lambda: "pump_not_proved" in bed.alarms, within_s=3)
        assert bed.room.sounds["one"] == "high"
        if mode == "safe":
            await bed.until(lambda: not bed.truth["infusing"], within_s=12)
            assert bed.given - given < 0.25, "its own watchdog ends it"
        sent = len(bed.port.sent)
        assert (await bed.order("session.resume", confirm=True))["state"] == "rejected"
        assert (await bed.order("pump.stop"))["state"] == "done"
        assert b"RUN" not in b"".join(bed.port.sent[sent:])
        assert not bed.truth["infusing"]


@pytest.mark.shows("S15")
async def test_a_pump_exchanged_within_two_polls_is_found_out_by_its_counter() -> None:
    """The line was never lost; the other pump stands at another limit, and has counted less."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        assert (await bed.order("session.pause"))["state"] == "done"
        await asyncio.sleep(2)
        stranger, now = Device(mode="safe"), bed.room.clock.wire()
        for said in (b"0", b"0VOL12.00", b"0"):  # the first only acknowledges that it was switched on
            stranger.receive(safe_packet(said), at=now)
        stranger.outgoing(at=now)
        bed.port.peer = stranger
        assert bed.port._pipe is not None
        bed.port._pipe._peer = stranger
        sent = len(bed.port.sent)
        await bed.until(lambda: "pump_not_proved" in bed.alarms, within_s=3)
        assert orders_in(bed, sent) == []


async def test_a_counter_that_falls_and_comes_back_is_still_our_pump() -> None:
    """Without a checksum a digit may read wrong once: who answers is asked, and nothing else happens."""
    bed = Bedside(Room(), mode="basic")
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        deceive(bed, lambda text: COUNTER.sub("I0.100W0.000ML", text))
        await asyncio.sleep(1.5)
        honest(bed)
        await asyncio.sleep(5)
        assert bed.phase == "running"
        assert not {"pump_not_proved", "comms_lost_pump"} & set(bed.raised)


@pytest.mark.shows("S15")
@pytest.mark.parametrize("mode", ["safe", "basic"])
async def test_an_armed_pump_whose_power_was_gone_is_armed_no_longer(mode: str) -> None:
    """It was back between two polls, its counter at the zero where it had stood."""
    bed = Bedside(Room(), mode=mode)
    async with ward(bed):
        assert (await bed.armed())["state"] == "done"
        bed.do("reboot")
        await bed.until(lambda: bed.phase == "planned", within_s=2.5)
        assert {"pump_power_lost", "unarmed"} <= bed.alarms
        assert (await bed.armed())["state"] == "done"


# --- the line at the edge of its time ---


@pytest.mark.shows("S3", "S6", "S16")
@pytest.mark.parametrize("gap_s", [8.0, 9.9, 10.1, 12.0])
@pytest.mark.parametrize("how", ["hung up", "not heard", "does not hear"])
async def test_gone_for_the_watchdogs_time_again_and_again(how: str, gap_s: float) -> None:
    """What is believed is what is; each start is a person's."""
    bed = Bedside(Room())
    resumed = 0
    async with ward(bed):
        await bed.running()
        for _ in range(6):
            if how == "hung up":
                bed.port.plug_out()
            else:
                bed.do("fault", kind="mute" if how == "not heard" else "deaf")
            await bed.until(lambda: "comms_lost_pump" in bed.state.conditions, within_s=3.5)
            await asyncio.sleep(gap_s - 3.5)
            bed.port.plug_in()
            bed.do("clear_faults")
            await bed.until(lambda: bed.state.sight.value == "seeing", within_s=30)
            await asyncio.sleep(1.5)
            await next_reading(bed)
            assert bed.truth["infusing"] == (bed.phase == "running")
            assert float(bed.state.volumes.high.value) >= bed.given - 0.001
            if bed.phase == "paused":
                assert (await bed.order("session.resume", confirm=True, role="prescriber"))["state"] == "done"
                resumed += 1
        assert starts(bed) == 1 + resumed
        assert "pump_not_proved" not in bed.raised


@pytest.mark.parametrize("delay_s", [0.15, 0.45])
async def test_a_start_on_a_line_that_answers_just_in_time_ends_well(delay_s: float) -> None:
    """It takes longer than a bed may be without a reading; what is read back was seen all the same."""
    bed = Bedside(Room())
    async with ward(bed):
        assert (await bed.armed())["state"] == "done"
        bed.do("fault", kind="delay", delay_s=delay_s)
        assert (await bed.order("session.start", confirm=True, wait_s=60))["state"] == "done"
        await asyncio.sleep(30)
        assert bed.phase == "running"
        assert bed.truth["infusing"]
        assert starts(bed) == 1
        assert (await bed.order("session.stop", wait_s=10))["state"] == "done"
        assert not bed.truth["infusing"]


@pytest.mark.shows("S10")
@pytest.mark.parametrize("after_ms", range(0, 160, 20))
async def test_told_to_go_at_any_moment_of_a_start_the_pump_stands(after_ms: int) -> None:
    bed = Bedside(Room(), mode="basic")
    async with ward(bed):
        assert (await bed.armed())["state"] == "done"
        bed.do("fault", kind="delay", delay_s=0.002)
        asking = asyncio.create_task(bed.order("session.start", confirm=True))
        await asyncio.sleep(after_ms / 1000)
        bed.room.office.close()
        bed.ward.bed.feed(ev.Shutdown())
        await bed.until(lambda: bed.state.halt is None, within_s=5)
        await asking
        await asyncio.sleep(2)
        assert not bed.truth["infusing"]
        assert bed.phase != "running"


@pytest.mark.shows("S5", "S16")
@pytest.mark.parametrize("what", NONSENSE)
async def test_a_stop_that_is_answered_with_nonsense_at_once_does_not_spin(what: str) -> None:
    """While the pump is still seen each attempt fails at once and the next one follows."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        bed.do("fault", kind="delay", delay_s=0.001)
        deceive(bed, NONSENSE[what])
        sent, rows = len(bed.port.sent), len(list(bed.room.journal.rows(bed=bed.name)))
        asking = asyncio.create_task(bed.order("session.stop", wait_s=4))
        await bed.until(lambda: not bed.truth["infusing"], within_s=0.05, step_s=0.001)
        await asking
        assert len(bed.port.sent) - sent < 60 * 4
        assert len(list(bed.room.journal.rows(bed=bed.name))) - rows < 40
        honest(bed)
        await bed.until(lambda: bed.phase == "observing", within_s=20)


# --- power ---


@pytest.mark.shows("S1", "S3", "S10")
@pytest.mark.parametrize("off_s", [0.0, 2.0, 20.0])
@pytest.mark.parametrize("phase", ["planned", "armed", "running", "paused", "observing"])
async def test_a_power_cut_in_any_phase_starts_nothing(phase: str, off_s: float) -> None:
    bed = Bedside(Room())
    async with ward(bed):
        if phase == "planned":
            assert (await bed.planned())["state"] == "done"
        elif phase == "armed":
            assert (await bed.armed())["state"] == "done"
        else:
            await bed.running()
            await bed.until_session(60)
        if phase in ("paused", "observing"):
            assert (await bed.order("session.pause" if phase == "paused" else "session.stop"))["state"] == "done"
            await asyncio.sleep(2)
        ordered, given = starts(bed), bed.given
        bed.do("power_off")
        await asyncio.sleep(off_s)
        bed.do("power_on")
        await bed.until(lambda: bed.state.sight.value == "seeing", within_s=15)
        await asyncio.sleep(5)
        assert starts(bed) == ordered
        assert bed.given == given
        assert bed.phase == {"armed": "planned", "running": "paused"}.get(phase, phase)
        assert not {"pump_not_proved", "infusing_against_plan"} & set(bed.raised)
        if phase == "running":
            assert (await bed.order("session.resume", confirm=True))["state"] == "done"
            assert bed.truth["limit_ml"] <= PLANNED_ML - given


@pytest.mark.shows("S1", "S6")
async def test_a_pump_that_starts_again_by_itself_after_a_power_cut_does_not_pass_the_dose() -> None:
    """Somebody set it so at the pump while it ran: it begins anew with its whole limit, its counter at zero."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        bed.device._panel.settings.flags["PF"] = 1
        for share in (0.3, 0.6, 0.9):
            await bed.until(lambda share=share: bed.given >= share * PLANNED_ML, step_s=0.5)  # type: ignore[misc]
            bed.do("reboot")
            assert bed.truth["infusing"]
            await bed.until(lambda: "pump_power_lost" in bed.raised, within_s=2)
        await bed.until(lambda: not bed.truth["infusing"], step_s=1)
        await asyncio.sleep(5)
        assert PLANNED_ML * 0.99 < bed.given <= PLANNED_ML + 1e-9
        assert starts(bed) == 1


@pytest.mark.shows("S5", "S10", "S15")
@pytest.mark.parametrize("after_ms", [40, 60])
async def test_a_resume_cut_by_a_stop_and_then_killed_still_knows_its_pump(after_ms: int, tmp_path: Path) -> None:
    """What an order that was given up may have changed is remembered over a restart; so is the stop."""
    path = tmp_path / "journal.sqlite3"
    bed = Bedside(journaled(path))
    bed.do("fault", kind="delay", delay_s=0.002)
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        assert (await bed.order("session.pause"))["state"] == "done"
        await asyncio.sleep(120)
        found = re.search(
            r"rate ([\d.]+).*volume ([\d.]+)", (await bed.order("session.resume", mode="recalculate"))["text"]
        )
        assert found is not None
        given = {"rate_ml_h": found[1], "volume_ml": found[2]}
        asking = asyncio.create_task(bed.order("session.resume", mode="recalculate", given=given))
        await asyncio.sleep(after_ms / 1000)
        stopping = asyncio.create_task(bed.order("session.stop", wait_s=0.5))
        await asyncio.sleep(0.0005)
        bed.port.plug_out()
        await asyncio.gather(asking, stopping)
    again = born_again(bed, path)
    async with ward(again):
        await again.until(lambda: again.phase == "observing", within_s=10)
        assert "pump_not_proved" not in again.raised
        assert not again.truth["infusing"]
