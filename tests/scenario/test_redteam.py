"""Attacks on the safety rules: each was once a way to break one (the rule is named), or a way that had to be tried."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pumpd.bedside import bed as bed_module
from pumpd.bedside.desk import CHECKLIST
from pumpd.core import events as ev
from pumpd.driver import Motion, PumpReport
from tests.bedside import PATIENT, PLAN, Bedside, Room, ward, weighing
from tests.scenario.test_blind import orders_in, starts
from tests.scenario.test_islands import Poison
from tests.scenario.test_recovery import born_again, journaled


@pytest.mark.shows("S16")
async def test_deaf_from_the_moment_of_the_start_the_pump_is_not_fed_for_ever() -> None:
    """S16: it infuses, hears us and is not heard; no reading ever judged it."""
    bed = Bedside(Room())
    async with ward(bed):
        assert (await bed.armed())["state"] == "done"
        asking = asyncio.create_task(bed.order("session.start", confirm=True))
        await bed.until(lambda: starts(bed) == 1, within_s=2, step_s=0.001)
        bed.do("mute")
        await asking
        await bed.until(lambda: not bed.truth["infusing"], within_s=30)
        assert "comms_lost_pump" in bed.alarms
        bed.do("unmute")
        await bed.until(lambda: bed.phase == "paused", within_s=20)
        assert starts(bed) == 1


@pytest.mark.shows("S11")
async def test_blind_for_minutes_and_killed_the_lost_time_is_not_forgotten(tmp_path: Path) -> None:
    """S10, S11: an alarm row written while blind must not pass for the last decision."""
    path = tmp_path / "journal.sqlite3"
    bed = Bedside(journaled(path), mode="basic")
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        bed.port.plug_out()
        await asyncio.sleep(300)
        alarm = next(alarm for alarm in bed.ward.bed.alarms.board.alarms if alarm.code == "comms_lost_pump")
        assert (await bed.order("alarm.ack", alarm_id=alarm.alarm_id))["state"] == "done"
        before = bed.state.elapsed_at(bed.ward.bed.session_now())
    again = born_again(bed, path)
    bed.port.plug_in()
    again = Bedside(again.room, device=bed.device, mode="basic")
    again.ward.recover(again.room.journal.rows(bed=again.name))
    assert again.state.elapsed_at(again.ward.bed.session_now()) == pytest.approx(before, abs=2)
    async with ward(again):
        await again.until(lambda: again.state.sight.value == "seeing", within_s=10)
        assert again.phase == "running"


@pytest.mark.shows("S15")
@pytest.mark.parametrize("cut_ms", range(0, 30, 3))
async def test_cut_while_the_limit_is_lowered_it_is_still_our_pump(cut_ms: int) -> None:
    """S15: an order that was cut on the line may have changed limit and rate; that is no other pump."""
    device_slow = Bedside(Room())
    bed = device_slow
    bed.do("fault", kind="delay", delay_s=0.002)
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        bed.key("stop")
        await bed.until(lambda: bed.phase == "paused", within_s=3, step_s=0.001)
        await asyncio.sleep(cut_ms / 1000)
        bed.port.plug_out()
        await asyncio.sleep(1)
        bed.port.plug_in()
        await asyncio.sleep(20)
        assert "pump_not_proved" not in bed.alarms
        assert bed.state.sight.value == "seeing"
        assert (await bed.order("session.resume", confirm=True))["state"] == "done"


@pytest.mark.shows("S5")
@pytest.mark.parametrize("verb", ["session.stop", "session.pause", "pump.stop"])
async def test_a_stop_while_the_bed_is_being_restarted_is_never_refused(verb: str, monkeypatch: Any) -> None:
    """S5: busy is never said to a stop."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        poison = Poison(bed.state.session_id, "raises")
        monkeypatch.setattr(bed_module, "decide", poison)
        poison.active = True
        await bed.until(lambda: bed.ward.bed.dead, within_s=5, step_s=0.001)
        poison.active = False
        answer = await bed.order(verb, wait_s=15)
        assert answer["state"] == "done", answer
        await bed.until(lambda: bed.phase == ("paused" if verb == "session.pause" else "observing"), within_s=5)
        assert not bed.truth["infusing"]


async def watched_only(bed: Bedside, monkeypatch: Any) -> Poison:
    await bed.running()
    poison = Poison(bed.state.session_id, "raises")
    monkeypatch.setattr(bed_module, "decide", poison)
    poison.active = True
    await bed.until(lambda: "monitor_only" in bed.alarms, within_s=30)
    poison.active = False
    return poison


@pytest.mark.shows("S5", "S16")
@pytest.mark.parametrize("verb", ["session.stop", "session.pause", "pump.stop"])
async def test_monitor_only_takes_every_stop(verb: str, monkeypatch: Any) -> None:
    """S5, S16: stop and pause are never refused, whoever supervises."""
    bed = Bedside(Room())
    async with ward(bed):
        await watched_only(bed, monkeypatch)
        bed.key("run")
        if not bed.truth["infusing"]:
            bed.key("run")
        assert bed.truth["infusing"]
        answer = await bed.order(verb)
        assert answer["state"] == "done", answer
        assert not bed.truth["infusing"]


async def test_monitor_only_a_stop_with_the_cable_out_is_not_forgotten(monkeypatch: Any) -> None:
    bed = Bedside(Room(), mode="basic")
    async with ward(bed):
        await watched_only(bed, monkeypatch)
        bed.key("run")
        assert bed.truth["infusing"]
        bed.port.plug_out()
        await asyncio.sleep(5)
        answer = await bed.order("pump.stop", wait_s=5)
        assert answer["state"] == "unknown", answer
        assert "stop_not_confirmed" in bed.alarms
        bed.port.plug_in()
        await bed.until(lambda: not bed.truth["infusing"], within_s=15)
        await asyncio.sleep(1)
        assert bed.room.paper.all(f"ack/{answer['id']}")[-1]["state"] == "done"


@pytest.mark.shows("S16")
async def test_monitor_only_outlives_the_daemon_until_a_person_clears_it(tmp_path: Path, monkeypatch: Any) -> None:
    """S16: a restart is no person."""
    path = tmp_path / "journal.sqlite3"
    bed = Bedside(journaled(path))
    async with ward(bed):
        await watched_only(bed, monkeypatch)
    again = born_again(bed, path)
    async with ward(again):
        await asyncio.sleep(5)
        assert again.ward.bed.monitor_only
        alarm = next(alarm for alarm in again.ward.bed.alarms.board.alarms if alarm.code == "monitor_only")
        assert (await again.order("alarm.reset", alarm_id=alarm.alarm_id))["state"] == "done"
        await again.until(lambda: not again.ward.bed.monitor_only and again.phase == "paused", within_s=20)


@pytest.mark.shows("S10")
async def test_a_bed_that_fails_after_release_sends_nothing(monkeypatch: Any) -> None:
    """S10 and the end: hands off a released pump, also when supervision fails."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        assert (await bed.order("session.stop"))["state"] == "done"
        await bed.until(lambda: bed.phase == "observing", within_s=5)
        assert (await bed.order("session.release"))["state"] == "done"
        before = len(bed.port.sent)
        poison = Poison(bed.state.session_id, "raises")
        monkeypatch.setattr(bed_module, "decide", poison)
        poison.active = True
        await bed.until(lambda: "bed_failed" in bed.alarms, within_s=5)
        poison.active = False
        await asyncio.sleep(5)
        assert orders_in(bed, before) == []


async def test_an_unreadable_past_does_not_end_the_daemon(tmp_path: Path, monkeypatch: Any) -> None:
    """S10: whatever the journal does to `decide`, the bed comes back and is watched."""
    path = tmp_path / "journal.sqlite3"
    bed = Bedside(journaled(path))
    async with ward(bed):
        await bed.running()

    def broken(*_: object) -> None:
        raise RuntimeError("this version cannot decide that")

    monkeypatch.setattr("pumpd.records.recall.decide", broken)
    again = born_again(bed, path)
    async with ward(again):
        assert "monitor_only" in again.alarms
        assert (await again.order("pump.stop"))["state"] == "done"
        assert not again.truth["infusing"]


@pytest.mark.shows("S10")
async def test_killed_between_a_decision_and_its_alarm_the_alarm_stands(tmp_path: Path) -> None:
    """S7: the condition is in the journal, so the alarm is due, whatever row was the last one."""
    path = tmp_path / "journal.sqlite3"
    bed = Bedside(journaled(path))
    async with ward(bed):
        await bed.running()
        bed.do("set_rate", ml_h=20.0)
        await bed.until(lambda: "rate_below_plan" in bed.alarms, within_s=3)
    rows = list(bed.room.journal.rows(bed=bed.name))
    cut = next(i for i, row in enumerate(rows) if row.kind == "Alarm" and "rate_below_plan" in row.data)
    room = Room(seed=3)
    again = Bedside(room, device=bed.device)
    again.ward.recover(iter(rows[:cut]))
    assert "rate_below_plan" in again.alarms


@pytest.mark.shows("S5")
@pytest.mark.parametrize("mode", ["safe", "basic"])
@pytest.mark.parametrize("kind", ["echo", "garbage"])
async def test_a_stop_on_a_line_that_answers_nonsense_does_not_spin(mode: str, kind: str) -> None:
    """S5: the loop must stay free for the other beds while one line talks back at once."""
    bed = Bedside(Room(), mode=mode)
    async with ward(bed):
        await bed.running()
        bed.do("fault", kind=kind)
        asked = len(bed.port.sent)
        began = bed.room.clock.wire()
        await asyncio.wait_for(bed.order("session.stop", wait_s=10), 20)
        assert len(bed.port.sent) - asked < 60 * (bed.room.clock.wire() - began) + 20
        bed.do("clear_faults")
        await bed.until(lambda: bed.state.halt is None, within_s=30)
        assert not bed.truth["infusing"]


async def test_a_failing_display_ends_the_bed_and_not_the_link(monkeypatch: Any) -> None:
    """S16: the link outlives whatever it tells."""
    bed = Bedside(Room(), mode="basic")
    async with ward(bed):
        await bed.running()

        def broken(*_: object) -> None:
            raise RuntimeError("cannot draw")

        with monkeypatch.context() as patch:
            patch.setattr("pumpd.bedside.display.Display.connection", broken)
            bed.port.plug_out()
            await asyncio.sleep(2)
        bed.port.plug_in()
        await bed.until(lambda: not bed.truth["infusing"], within_s=15)
        assert "bed_failed" in bed.alarms


@pytest.mark.shows("S12", "H64")
async def test_bursts_of_orders_lead_to_one_start_and_one_end() -> None:
    """S12: a thousand starts are one; a stop amid them wins."""
    bed = Bedside(Room())
    async with ward(bed):
        assert (await bed.armed())["state"] == "done"
        shown = bed.room.paper.last("pump/one-pump/session")
        given = {"rate_ml_h": str(shown["confirm_rate_ml_h"]), "volume_ml": str(shown["confirm_volume_ml"])}
        many = [bed.order("session.start", given=given, wait_s=2) for _ in range(1000)]
        answers = await asyncio.gather(*many)
        assert sum(answer["state"] == "done" for answer in answers) == 1
        assert starts(bed) == 1
        verbs = ["session.pause", "session.resume", "session.stop", "session.start"] * 250
        answers = await asyncio.gather(*[bed.order(verb, given=given, wait_s=5) for verb in verbs])
        await asyncio.sleep(10)
        assert not bed.truth["infusing"]
        assert starts(bed) == 1
        assert bed.phase in ("observing", "aborted")


@pytest.mark.shows("S5")
@pytest.mark.parametrize("delay_ms", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89])
@pytest.mark.parametrize("first", ["session.arm", "session.start", "session.resume"])
@pytest.mark.parametrize("verb", ["session.stop", "pump.stop"])
async def test_a_stop_at_any_moment_of_another_order_is_last_on_the_wire(first: str, verb: str, delay_ms: int) -> None:
    """S5: nothing that gives more follows a stop."""
    bed = Bedside(Room())
    bed.do("fault", kind="delay", delay_s=0.001)
    async with ward(bed):
        if first == "session.arm":
            assert (await bed.planned())["state"] == "done"
        else:
            assert (await bed.armed())["state"] == "done"
        if first == "session.resume":
            assert (await bed.order("session.start", confirm=True))["state"] == "done"
            await asyncio.sleep(20)
            assert (await bed.order("session.pause"))["state"] == "done"
            await asyncio.sleep(3)
        if first == "session.arm":
            order = bed.order("session.arm", patient_ref=PATIENT, checklist=list(CHECKLIST))
        else:
            order = bed.order(first, confirm=True)
        asking = asyncio.create_task(order)
        await asyncio.sleep(delay_ms / 1000)
        sent = len(bed.port.sent)
        stopped = await bed.order(verb)
        assert stopped["state"] == "done", stopped
        await asking
        await asyncio.sleep(5)
        assert b"RUN" not in b"".join(bed.port.sent[sent:])
        assert not bed.truth["infusing"]
        assert bed.phase != "running"


@pytest.mark.shows("S10")
@pytest.mark.parametrize("up_s", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("mode", ["safe", "basic"])
async def test_a_flapping_line_is_no_second_start_and_no_over_delivery(up_s: float, mode: str) -> None:
    bed = Bedside(Room(), mode=mode)
    async with ward(bed):
        await bed.running()
        for _ in range(40):
            bed.port.plug_out()
            await asyncio.sleep(1.0)
            bed.port.plug_in()
            await asyncio.sleep(up_s)
        await bed.until(lambda: bed.state.sight.value == "seeing", within_s=30)
        assert starts(bed) == 1
        assert "pump_not_proved" not in bed.raised
        assert (await bed.order("session.stop"))["state"] == "done"
        assert not bed.truth["infusing"]


@pytest.mark.shows("S11")
@pytest.mark.parametrize("gap_s", [2.5, 5.0, 30.0])
async def test_a_loop_that_stood_still_is_a_loss_of_sight(gap_s: float) -> None:
    """S11, S16: we could not judge; the link stops the pump, the alarm stands, nothing restarts it."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        asyncio.get_running_loop()._virtual.now += gap_s  # type: ignore[attr-defined]
        await asyncio.sleep(5)
        assert {"comms_lost_pump", "lease_lapsed"} & set(bed.raised)
        await bed.until(lambda: bed.state.sight.value == "seeing", within_s=20)
        if gap_s > 2.5:
            assert bed.phase == "paused"
            assert not bed.truth["infusing"]
        assert starts(bed) == 1


BD_60: dict[str, Any] = {"kind": "syringe", "make": "BD", "size_ml": 60, "fill_ml": 50}
HUGE = ["1e30", "999999999999", "0.000001", "1e-6", "NaN", "Infinity", "-Infinity", "-1", "999999.999999", 10**11, "0"]


@pytest.mark.shows("S8", "H28")
@pytest.mark.parametrize("number", HUGE)
async def test_absurd_figures_of_a_plan_are_refused_in_words(number: object) -> None:
    """S8: every figure of a prescription, beyond all sense, singly."""
    bed = Bedside(Room())
    async with ward(bed):
        absurd: dict[str, Any] = {"value": number, "unit": "lb"}
        preparations = ({"drug_mg": number, "final_ml": 50}, {"drug_mg": 50, "final_ml": number})
        entries = [(field, number) for field in ("dose_mg_per_kg", "concentration_mg_ml", "duration_min")]
        entries += [("weight", absurd), ("weight_again", absurd), *(("preparation", each) for each in preparations)]
        for field, entry in entries:
            changed: dict[str, Any] = {**PLAN, field: entry}
            answer = await bed.order("session.plan", **changed)
            assert answer["state"] == "rejected", (field, number, answer)
            assert answer["reason"] in ("malformed", "limit"), answer
        for field in ("size_ml", "fill_ml", "diameter_mm"):
            changed = {**PLAN, "container": {**BD_60, field: number}}
            answer = await bed.order("session.plan", **changed)
            assert answer["state"] in ("rejected", "done"), (field, number, answer)
        for steps in (
            [{"duration_min": number, "share_pct": 100}],
            [{"duration_min": 45, "rate_ml_h": number}],
            [{"duration_min": 45, "share_pct": number}],
            [{"duration_min": 45, "share_pct": 100}, {"duration_min": number, "share_pct": 0}],
        ):
            changed = {**PLAN, "steps": steps}
            answer = await bed.order("session.plan", **changed)
            assert answer["state"] in ("rejected", "done"), (steps, answer)
        await bed.running()
        answer = await bed.order("rate.set", rate_ml_h=number, given={"rate_ml_h": number, "volume_ml": number})
        assert answer["state"] == "rejected", answer
        answer = await bed.order("session.restore", given={"rate_ml_h": number})
        assert answer["state"] == "rejected", answer


async def test_a_session_whose_pump_was_exchanged_can_be_ended(tmp_path: Path) -> None:
    """S15: nothing but a person's stop goes to a stranger, yet the bed must be free for the next patient."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(100)
        bed.port.plug_out()
        bed.port.peer = Bedside(Room()).device
        bed.port.plug_in()
        await bed.until(lambda: "pump_not_proved" in bed.alarms, within_s=10)
        before = len(bed.port.sent)
        assert (await bed.order("session.stop", wait_s=3))["state"] == "unknown"
        assert (await bed.order("session.end"))["reason"] == "busy", "a stop is owed: look at the pump first"
        assert orders_in(bed, before) == []
        assert (await bed.order("pump.stop"))["state"] == "done"
        before = len(bed.port.sent)
        assert (await bed.order("session.end"))["state"] == "done"
        assert bed.phase == "aborted"
        await asyncio.sleep(5)
        assert orders_in(bed, before) == []
        assert (await bed.planned())["state"] == "done"


@pytest.mark.shows("S7")
async def test_an_alarm_told_while_the_bed_is_being_restarted_is_not_lost(monkeypatch: Any) -> None:
    """S7, S15: the pump says once that its power was gone; without it its counter would pass for a stranger's."""
    bed = Bedside(Room(), mode="basic")
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        poison = Poison(bed.state.session_id, "raises")
        monkeypatch.setattr(bed_module, "decide", poison)
        bed.do("power_off")
        poison.active = True
        bed.ward.bed.feed(ev.PumpReported(bed.state.report))  # type: ignore[arg-type]
        poison.active = False
        bed.do("power_on")
        await asyncio.sleep(15)
        assert "pump_power_lost" in bed.alarms
        assert "pump_not_proved" not in bed.alarms
        assert bed.phase == "paused"


async def test_damage_that_looked_like_another_pump_is_asked_again() -> None:
    """S15: in Basic mode a lost byte is no checksum error; asked again, it is our pump."""
    bed = Bedside(Room(), mode="basic")
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        assert bed.state.ours is not None
        bed.ward.bed.feed(ev.LinkUp(replace(bed.state.ours, version="V3.92")))
        assert "pump_not_proved" in bed.state.conditions
        await bed.until(lambda: bed.state.sight.value == "seeing", within_s=40)
        assert bed.phase == "running"


async def test_a_lapse_with_the_cable_out_stops_our_pump_when_it_is_back(monkeypatch: Any) -> None:
    """S16: arming changed what our pump reads; the link knows it by that when nobody else does."""
    bed = Bedside(Room(), mode="basic")
    async with ward(bed):
        await bed.running(
            **weighing(40), container={"kind": "syringe", "make": "BD", "size_ml": 20, "fill_ml": 20}
        )  # another diameter than the pump was switched on with
        await bed.until_session(60)
        bed.port.plug_out()
        poison = Poison(bed.state.session_id, "raises")
        monkeypatch.setattr(bed_module, "decide", poison)
        poison.active = True
        bed.ward.bed.feed(ev.PumpReported(PumpReport(Motion.INFUSING)))
        poison.active = False
        await asyncio.sleep(3)
        bed.port.plug_in()
        await bed.until(lambda: not bed.truth["infusing"], within_s=15)
        await bed.until(lambda: bed.phase == "paused", within_s=15)


@pytest.mark.shows("S10")
async def test_nothing_is_started_while_the_program_goes_down() -> None:
    """SIGTERM: stop, read back, exit. An order that gives more in between would leave a pump without supervision."""
    bed = Bedside(Room(), mode="basic")
    async with ward(bed):
        await bed.running()
        bed.room.office.close()
        bed.ward.bed.feed(ev.Shutdown())
        await bed.until(lambda: bed.state.halt is None, within_s=5)
        refused = await bed.order("session.resume", confirm=True)
        assert (refused["state"], refused["reason"]) == ("rejected", "busy")
        assert (await bed.order("pump.stop"))["state"] == "done"
        assert starts(bed) == 1


@pytest.mark.shows("S10", "H61")
async def test_killed_after_any_row_the_state_is_the_same_or_safer(tmp_path: Path) -> None:
    """S10, S7: every prefix of an eventful journal; nothing runs or is armed, every condition has its alarm."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        bed.do("set_rate", ml_h=20.0)
        await asyncio.sleep(3)
        await bed.order("session.restore", given={"rate_ml_h": "46.66"})
        bed.do("set_rate", ml_h=60.0)
        await asyncio.sleep(3)
        bed.key("stop")
        await asyncio.sleep(3)
        await bed.order("session.resume", confirm=True)
        bed.port.plug_out()
        await asyncio.sleep(20)
        bed.port.plug_in()
        await asyncio.sleep(5)
        await bed.order("session.resume", confirm=True)
        await asyncio.sleep(3)
        await bed.order("session.pause")
        await bed.order("session.resume", confirm=True)
        await bed.order("session.stop")
        await asyncio.sleep(5)
        await bed.order("session.release")
        await bed.order("session.end")
    rows = list(bed.room.journal.rows(bed=bed.name))
    assert {row.kind for row in rows} >= {"LinkDown", "LinkUp", "StopOrdered", "ReleaseOrdered", "Alarm", "AlarmOver"}
    for end in range(1, len(rows) + 1):
        again = Bedside(Room(), device=bed.device)
        again.ward.recover(iter(rows[:end]))
        lost = f"after row {end}, {rows[end - 1].kind}"
        assert not again.ward.bed.monitor_only, lost
        assert again.phase not in ("armed", "running"), lost
        assert again.state.pending is None or again.state.pending.uncertain, lost
        assert again.state.conditions <= again.alarms, lost
        again.ward.bed.close()
