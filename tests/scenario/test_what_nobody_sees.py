"""The residual risks of docs/safety.md are real: in the simulator the harm is done, and no alarm can say so."""

from __future__ import annotations

import asyncio

import pytest

from tests.bedside import PLANNED_ML, Bedside, Room, ward
from tests.scenario.test_blind import orders_in
from tests.scenario.test_every_alarm import just_read

QUIET = {"near_end"}  # what every session raises


@pytest.mark.shows("risk:wrong-diameter")
async def test_another_syringe_than_confirmed_gives_a_quarter_more_and_all_volumes_agree() -> None:
    bed = Bedside(Room(), speed=30, true_diameter_mm=29.7)
    async with ward(bed):
        await bed.running()
        await bed.until(lambda: bed.phase == "observing")
        volumes = bed.state.volumes
        assert float(volumes.counted.value) == pytest.approx(PLANNED_ML, abs=0.02)
        assert float(volumes.high.value) == pytest.approx(PLANNED_ML, abs=0.2)
        assert bed.given == pytest.approx(PLANNED_ML * (29.7 / 26.59) ** 2, rel=0.01)
        assert set(bed.raised) <= QUIET


@pytest.mark.shows("risk:occlusion")
async def test_an_occlusion_is_told_late_and_its_bolus_reaches_the_patient_unseen() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        bed.do("occlude")
        waited = await bed.until(lambda: "motor_stalled" in bed.alarms, within_s=600)
        assert waited > 60, "nobody knows until the motor stalls"
        held, reached = bed.truth["trapped_ml"], bed.truth["patient_ml"]
        assert held > 0.9
        bed.do("release")
        await asyncio.sleep(60)
        assert bed.truth["patient_ml"] - reached == pytest.approx(held, rel=0.05)
        assert bed.phase == "paused"


@pytest.mark.shows("risk:after-the-end")
async def test_after_the_end_each_start_at_the_keypad_gives_a_little() -> None:
    bed = Bedside(Room(), speed=30)
    async with ward(bed):
        await bed.running()
        await bed.until(lambda: bed.phase == "observing")
        assert (await bed.order("session.release"))["state"] == "done"
        done = bed.given
        for _ in range(3):
            bed.key("run")
            await asyncio.sleep(10)
        assert done < bed.given <= done + 3 * 0.001 + 1e-9
        bed.do("set_rate", ml_h=60.0)  # programmed by hand: as much as the pump's limit lets through, each time
        bed.key("run")
        await asyncio.sleep(10)
        assert bed.given > done + 3 * 0.001


@pytest.mark.shows("risk:twin-pumps")
async def test_two_alike_pumps_in_the_same_moment_of_the_same_plan_are_swapped_unseen() -> None:
    room = Room()
    left, right = Bedside(room, "left"), Bedside(room, "right")
    async with ward(left, right):
        for bed in (left, right):
            assert (await bed.armed())["state"] == "done"
        started = await asyncio.gather(*(bed.order("session.start", confirm=True) for bed in (left, right)))
        assert {answer["state"] for answer in started} == {"done"}
        await asyncio.sleep(60)
        for bed in (left, right):
            bed.port.plug_out()
        left.port.peer, right.port.peer = right.port.peer, left.port.peer
        for bed in (left, right):
            bed.port.plug_in()
        await asyncio.sleep(10)
        for bed in (left, right):
            assert "pump_not_proved" not in bed.raised
            assert bed.state.sight.value == "seeing"
            assert bed.phase == "running"


class OneBit:
    """Bends one bit of the next answer that tells a rate: 46.66 reads as 47.66."""

    def __init__(self, bed: Bedside) -> None:
        self._true = bed.device.outgoing
        self.bent = 0

    def __call__(self, at: float) -> bytes:
        data = self._true(at)
        if self.bent or b"I46.66" not in data:
            return data
        self.bent += 1
        return data.replace(b"I46.66", b"I47.66")


@pytest.mark.shows("risk:no-checksum")
@pytest.mark.parametrize(("mode", "believed"), [("basic", True), ("safe", False)])
async def test_a_flipped_bit_reads_as_another_number_once_where_there_is_no_checksum(
    mode: str, believed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bed = Bedside(Room(), mode=mode)
    async with ward(bed):
        await bed.running()
        await just_read(bed)
        bend = OneBit(bed)
        monkeypatch.setattr(bed.device, "outgoing", bend)
        await asyncio.sleep(5)
        assert ord("6") ^ ord("7") == 1
        assert ("rate_above_plan" in bed.raised) is believed
        assert bed.truth["rate_ml_h"] == pytest.approx(46.66)
        assert bed.phase == "running"
        assert bend.bent == 1, "in Safe mode the answer is damage, and is asked again"


@pytest.mark.shows("risk:who-orders")
async def test_whoever_says_prescriber_is_taken_for_one() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        assert (await bed.order("session.pause"))["state"] == "done"
        await asyncio.sleep(901)
        assert (await bed.order("session.resume", confirm=True))["reason"] == "not_allowed"
        assert (await bed.order("session.resume", confirm=True, role="prescriber"))["state"] == "done"


@pytest.mark.shows("risk:early-end")
async def test_the_dose_ends_up_to_one_counter_step_early() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        assert 0 < PLANNED_ML - bed.given <= 0.011


@pytest.mark.shows("risk:one-machine", "risk:blind")
@pytest.mark.parametrize(("mode", "most_s"), [("safe", 11.0), ("basic", None)])
async def test_with_the_machine_dead_the_pump_has_its_watchdog_or_nothing(mode: str, most_s: float | None) -> None:
    bed = Bedside(Room(), mode=mode)
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
    before = bed.given  # nobody is there any more
    sent = len(bed.port.sent)
    await asyncio.sleep(600)
    assert orders_in(bed, sent) == []
    most_ml = 46.66 / 3600 * (most_s or 600)
    assert 0 < bed.given - before <= most_ml + 1e-6
    assert bed.truth["infusing"] is (mode == "basic")
