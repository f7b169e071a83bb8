"""Cable out, daemon gone, pumps swapped: not knowing is loud, and nothing is started twice (S5, S7, S10, S15)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from pumpd.driver import Dialogue, Identity
from tests.bedside import PLANNED_ML, Bedside, Room, ward, weighing

CHANGES_DELIVERY = (b"RUN", b"STP", b"VOL", b"RAT", b"DIA", b"PUR", b"DIR")


def orders_in(bed: Bedside, since: int = 0) -> list[bytes]:
    """What was sent that can change delivery: a command with an argument, or RUN, STP, PUR."""
    found = []
    for data in bed.port.sent[since:]:
        text = data[2:-3] if data[:1] == b"\x02" else data.rstrip(b"\r")
        command = text.lstrip(b"0123456789")
        word, argument = command[:3], command[3:]
        if word in CHANGES_DELIVERY and (argument or word in (b"RUN", b"STP", b"PUR")):
            found.append(word)
    return found


def starts(bed: Bedside) -> int:
    """How often the pump was told to run."""
    return sum(b"RUN" in data for data in bed.port.sent)


def pull(bed: Bedside, how: str) -> None:
    """Take the line away: the port vanishes, or it stays and nobody answers."""
    if how == "port gone":
        bed.port.plug_out()
    else:
        bed.do("mute")
        bed.do("fault", kind="deaf")


def put_back(bed: Bedside, how: str) -> None:
    """Give the line back."""
    if how == "port gone":
        bed.port.plug_in()
    else:
        bed.do("clear_faults")


@pytest.mark.shows("S7", "H34")
@pytest.mark.parametrize("how", ["port gone", "silence"])
async def test_cable_out_is_alarmed_within_three_seconds_and_displays_are_told_unknown(how: str) -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        pull(bed, how)
        await bed.until(lambda: "comms_lost_pump" in bed.alarms, within_s=3.0)
        await asyncio.sleep(0.1)
        shown = bed.room.paper.last("pump/one-pump/telemetry")
        assert shown["state"] == "unknown"
        assert shown["rate_read_ml_h"] is None
        assert shown["volume_pump_ml"] is None
        assert shown["quality"]["rate_read_ml_h"] == "unavailable"


@pytest.mark.shows("S15")
@pytest.mark.parametrize("how", ["port gone", "silence"])
@pytest.mark.parametrize("seconds", [1.0, 4.0, 7.0])
async def test_cable_out_for_less_than_the_watchdog_is_verified_and_goes_on(how: str, seconds: float) -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        before = len(bed.port.sent)
        pull(bed, how)
        await asyncio.sleep(seconds)
        put_back(bed, how)
        await bed.until(lambda: bed.state.sight.value == "seeing", within_s=15)
        await asyncio.sleep(5)
        assert bed.phase == "running"
        assert bed.truth["infusing"]
        assert orders_in(bed, before) == [], "nothing that changes delivery was sent"
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        assert starts(bed) == 1
        assert bed.given == pytest.approx(PLANNED_ML, rel=0.01)
        assert bed.given <= PLANNED_ML + 1e-9


@pytest.mark.shows("S3")
@pytest.mark.parametrize("how", ["port gone", "silence"])
async def test_cable_out_for_longer_the_pump_stops_itself_and_resume_is_confirmed(how: str) -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        pull(bed, how)
        await asyncio.sleep(30)
        assert not bed.truth["infusing"], "the pump's own watchdog"
        put_back(bed, how)
        await bed.until(lambda: bed.phase == "paused", within_s=15)
        assert "pump_watchdog_expired" in bed.alarms
        await asyncio.sleep(60)
        assert starts(bed) == 1, "never restarted by us"
        assert (await bed.order("session.resume"))["reason"] == "not_confirmed"
        assert (await bed.order("session.resume", confirm=True))["state"] == "done"
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        assert bed.given == pytest.approx(PLANNED_ML, rel=0.01)
        assert bed.given <= PLANNED_ML + 1e-9


@pytest.mark.shows("S5", "H11")
@pytest.mark.parametrize("how", ["port gone", "silence"])
@pytest.mark.parametrize("verb", ["session.stop", "session.pause", "pump.stop"])
@pytest.mark.parametrize("mode", ["safe", "basic"])
async def test_a_stop_ordered_with_the_cable_out_is_the_first_order_after_it(how: str, verb: str, mode: str) -> None:
    """S5: latched, journaled, said to be unknown; then first on the wire. In Basic mode no watchdog helps."""
    bed = Bedside(Room(), mode=mode)
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        pull(bed, how)
        await asyncio.sleep(4)
        answer = await bed.order(verb, wait_s=1.0)
        assert answer["state"] == "unknown", answer
        await bed.until(lambda: "stop_not_confirmed" in bed.alarms, within_s=5)
        assert bed.phase == ("paused" if verb == "session.pause" else "ending")
        before = len(bed.port.sent)
        put_back(bed, how)
        await bed.until(lambda: bed.state.halt is None, within_s=20)
        assert orders_in(bed, before)[0] == b"STP"
        assert not bed.truth["infusing"]
        given = bed.given
        await asyncio.sleep(60)
        assert bed.given == given
        final = bed.room.paper.all(f"ack/{answer['id']}")[-1]
        assert final["state"] == "done"
        assert "stop_not_confirmed" in bed.alarms, "it latches until a person resets it"


@pytest.mark.shows("S16")
async def test_a_pump_that_hears_us_but_is_not_heard_is_not_fed_for_ever() -> None:
    """S16: our own questions would keep its watchdog quiet while nobody judges what it does."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        bed.do("mute")
        await bed.until(lambda: not bed.truth["infusing"], within_s=25)
        bed.do("unmute")
        await bed.until(lambda: bed.phase == "paused", within_s=15)
        assert starts(bed) == 1


@pytest.mark.shows("S15")
async def test_two_swapped_pumps_get_no_orders_meant_for_the_other() -> None:
    """S15: same model, same address, both in a session; only rate, limit and counter tell them apart."""
    room = Room()
    left, right = Bedside(room, "left"), Bedside(room, "right")
    async with ward(left, right):
        await left.running()
        await right.running(**weighing(50))
        await left.until_session(300)
        left.port.plug_out()
        right.port.plug_out()
        await asyncio.sleep(2)
        left.port.peer, right.port.peer = right.port.peer, left.port.peer
        left_before, right_before = len(left.port.sent), len(right.port.sent)
        left.port.plug_in()
        right.port.plug_in()
        await left.until(lambda: "pump_not_proved" in left.alarms, within_s=10)
        await right.until(lambda: "pump_not_proved" in right.alarms, within_s=10)
        await asyncio.sleep(30)
        assert orders_in(left, left_before) == []
        assert orders_in(right, right_before) == []
        refused = await left.order("session.stop", wait_s=3)
        assert refused["state"] in ("unknown", "accepted")
        await asyncio.sleep(5)
        assert orders_in(left, left_before) == [], "a latched stop waits for the proof"
        assert not left.truth["infusing"], "nobody feeds its watchdog: it stopped by itself"
        assert not right.truth["infusing"]


@pytest.mark.shows("S15")
async def test_a_person_who_saw_the_warning_can_stop_the_pump_that_is_not_proved() -> None:
    bed = Bedside(Room(), mode="basic")
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        bed.port.plug_out()
        bed.do("set_rate", ml_h=30.0)
        await asyncio.sleep(1)
        bed.port.plug_in()
        await bed.until(lambda: "pump_not_proved" in bed.alarms, within_s=10)
        assert bed.truth["infusing"]
        stopped = await bed.order("pump.stop", wait_s=10)
        assert stopped["state"] == "done", stopped
        assert not bed.truth["infusing"]


@pytest.mark.shows("S10")
async def test_an_infusing_pump_with_no_session_is_not_touched_but_told() -> None:
    bed = Bedside(Room())
    bed.do("truth")
    bed.device.control({"do": "press", "key": "run"})
    other = Bedside(Room())
    async with ward(other):
        await other.running()
        await other.until_session(30)
        taken = len(other.port.sent)
        newcomer = Bedside(Room(), device=other.device)
        other.port.plug_out()
        async with ward(newcomer):
            await newcomer.until(lambda: "infusing_unknown_session" in newcomer.alarms, within_s=5)
            await asyncio.sleep(5)
            assert orders_in(newcomer) == []
            stopped = await newcomer.order("pump.stop")
            assert stopped["state"] == "done", stopped
            assert not newcomer.truth["infusing"]
        assert taken


@pytest.mark.shows("S3", "H20")
async def test_a_power_cut_pauses_the_session_and_nothing_restarts_it() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        bed.do("power_off")
        await asyncio.sleep(5)
        bed.do("power_on")
        await bed.until(lambda: bed.phase == "paused", within_s=20)
        assert "pump_power_lost" in bed.alarms
        given = bed.given
        await asyncio.sleep(60)
        assert bed.given == given
        assert starts(bed) == 1


@pytest.mark.shows("H58", "H62")
async def test_noise_on_the_line_disturbs_nothing() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        for _ in range(60):
            bed.port.inject(bytes(bed.room.rng.randrange(256) for _ in range(40)))
            await asyncio.sleep(3.3)
        await bed.until(lambda: bed.phase in ("observing", "paused"), step_s=1)
        assert bed.phase == "observing"
        assert bed.given == pytest.approx(PLANNED_ML, rel=0.01)
        assert bed.given <= PLANNED_ML + 1e-9


@pytest.mark.shows("S15")
async def test_a_pump_with_another_serial_number_than_the_configured_is_a_stranger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """New Era tell none; so the driver is given one. Everything else agrees, and only asking again finds it out."""
    bed, found = Bedside(Room(), serial_number="7001"), ["7001"]
    connect = bed.site.pump.connect

    def telling(*, hands_off: bool = False) -> Dialogue[Identity]:
        identity = yield from connect(hands_off=hands_off)
        return replace(identity, serial=found[0])

    monkeypatch.setattr(bed.site.pump, "connect", telling)
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        found[0] = "7002"
        bed.ward.bed.break_down(RuntimeError("a bed that comes back asks who answers"))
        await bed.until(lambda: "comms_lost_pump" in bed.alarms, within_s=10.0)
        [lost] = [alarm for alarm in bed.ward.bed.alarms.board.alarms if alarm.code == "comms_lost_pump"]
        assert '7002 instead of "7001"' in dict(lost.values)["reason"]
        mark = len(bed.port.sent)
        await bed.until_session(340)
        assert orders_in(bed, mark) == []
