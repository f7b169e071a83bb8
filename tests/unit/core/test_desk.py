"""From a request to an event, or to a refusal in the sender's words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from pumpd.bedside import views
from pumpd.bedside.desk import CHECKLIST, EVENTS, Site, event_for, propose
from pumpd.core import events as ev
from pumpd.core.alarms import AudioPause, Board, Moment
from pumpd.core.intake import Former, Noted
from pumpd.core.state import State
from pumpd.driver import Capabilities, Motion
from pumpd.library import Syringe, load_syringes, share_file
from pumpd.messaging.prescription import PlanArgs
from pumpd.messaging.requests import STOPPING, VERBS, Confirm, Rejected, Request
from pumpd.units import Kg, Mg, MgPerKg, Ml, MlPerHour
from tests.unit.core.world import ABLE, INFUSING, KETAMINE, PUMP, RATE, STANDING, Case

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
CHECKED = Syringe("BD checked", Ml(60), Decimal("26.59"), "A. Smith, caliper", "measured")
SITE = Site(
    pump=PUMP,
    drugs={"ketamine": KETAMINE},
    syringes=(*load_syringes(share_file("syringes.toml")), CHECKED),
    simulated=True,
    auto_restore=False,
    keypad_lock=True,
    observation_s=600.0,
    poll_s=1.0,
    reaction_s=0.5,
    max_rate=MlPerHour(120),
)
CONTAINER = {"kind": "syringe", "make": "BD", "size_ml": 60, "fill_ml": 50}
WEIGHS_20 = {"value": 20, "unit": "kg"}
USUAL = {
    "patient_ref": "p-1",
    "drug": "ketamine",
    "weight": {"value": 70, "unit": "kg"},
    "weight_again": {"value": 70, "unit": "kg"},
    "dose_mg_per_kg": "0.5",
    "preparation": {"drug_mg": 50, "final_ml": 50},
    "concentration_mg_ml": 1,
    "container": CONTAINER,
    "checks": {
        "person": {"age_years": 41, "sex": "female"},
        "liver": {"result": "normal"},
        "other_drugs": {"result": "checked", "classes": []},
        "psychiatric": {"result": "done"},
        "vitals": {"sbp_mmhg": 124, "dbp_mmhg": 78, "hr_bpm": 71, "spo2_pct": 98},
        "course": {"session_number": 1, "days_since_last": "none"},
    },
    "second_person": "nurse-2",
}
ARGS: dict[str, dict[str, Any]] = {
    "session.plan": USUAL,
    "session.arm": {"patient_ref": "p-1", "checklist": list(CHECKLIST)},
    "session.resume": {"mode": "recalculate", "pressure_released": True},
    "session.container": {"container": CONTAINER},
    "pump.stop": {"bed": "one", "pump": "one-pump"},
    "rate.set": {"rate_ml_h": "40"},
}
KINDS = {
    "session.plan": ev.PlanOrdered,
    "session.arm": ev.ArmOrdered,
    "session.start": ev.StartOrdered,
    "session.pause": ev.PauseOrdered,
    "session.resume": ev.ResumeOrdered,
    "session.stop": ev.StopOrdered,
    "session.restore": ev.RestoreOrdered,
    "session.accept": ev.AcceptOrdered,
    "session.finish": ev.FinishOrdered,
    "session.end": ev.EndOrdered,
    "session.release": ev.ReleaseOrdered,
    "session.container": ev.ContainerOrdered,
    "standby": ev.StandbyOrdered,
    "pump.stop": ev.PumpStopOrdered,
    "rate.set": ev.RateOrdered,
}
ANY_SESSION = ("session.plan", "pump.stop", "standby")


def request(verb: str, args: dict[str, Any] | None = None, **changes: Any) -> Request:
    made = Request(
        verb=verb,
        id="00000000-0000-0000-0000-000000000001",
        issued_ts="2026-01-31T09:30:00Z",
        ttl_ms=5000,
        actor="nurse-1",
        role="nurse",
        origin="local",
        bed="one",
        session_id="s-1",
        args=VERBS[verb].model_validate(ARGS.get(verb, {}) if args is None else args),
    )
    return made.model_copy(update=changes)


def judge(asked: Request, state: State | None = None, site: Site = SITE) -> ev.Event:
    return event_for(asked, Case().running(5).state if state is None else state, site, lambda: "new", "ok")


def refused(asked: Request, state: State | None = None, site: Site = SITE) -> Rejected:
    with pytest.raises(Rejected) as error:
        judge(asked, state, site)
    return error.value


# --- verbs ---


def test_every_verb_of_a_bed_has_its_event() -> None:
    assert set(EVENTS) == set(KINDS)
    assert set(VERBS) - set(KINDS) == {
        "alarm.ack",
        "alarm.inactivate",
        "alarm.reset",
        "audio.pause",
        "audio.resume",
        "snapshot",
    }


@pytest.mark.parametrize("verb", KINDS)
def test_a_request_becomes_the_event_of_its_verb_with_its_sender(verb: str) -> None:
    event = judge(request(verb))
    assert type(event) is KINDS[verb]
    assert event.by == ev.By("nurse-1", "nurse", "local", "00000000-0000-0000-0000-000000000001")  # type: ignore[union-attr]


def test_what_a_request_says_is_in_its_event() -> None:
    resume = judge(request("session.resume"))
    assert isinstance(resume, ev.ResumeOrdered)
    assert (resume.recalculate, resume.pressure_released, resume.confirm) == (True, True, None)
    assert judge(request("rate.set")).rate == MlPerHour(40)  # type: ignore[union-attr]
    arm = judge(request("session.arm", {"patient_ref": "p-1", "checklist": ["clamps-open", "also this"]}))
    assert isinstance(arm, ev.ArmOrdered)
    assert arm.missing == tuple(item for item in CHECKLIST if item != "clamps-open")
    assert arm.annunciator == "ok"


@pytest.mark.parametrize(
    ("given", "confirm"),
    [
        (None, None),
        (Confirm(), ev.Confirm()),
        (Confirm(rate_ml_h="46.66"), ev.Confirm(RATE)),
        (Confirm(rate_ml_h="46.66", volume_ml=35), ev.Confirm(RATE, Ml(35))),
        (Confirm(rate_ml_h=0), ev.Confirm(MlPerHour(0))),
    ],
)
@pytest.mark.parametrize("verb", ["session.start", "session.resume", "session.finish", "session.accept", "rate.set"])
def test_the_figures_that_were_read_back_arrive(verb: str, given: Confirm | None, confirm: ev.Confirm | None) -> None:
    assert judge(request(verb, confirm=given)).confirm == confirm  # type: ignore[union-attr]


# --- which session, which revision ---


@pytest.mark.shows("S12", "H54")
@pytest.mark.parametrize("verb", sorted(set(KINDS) - set(ANY_SESSION)))
@pytest.mark.parametrize("named", ["s-0", None])
def test_a_command_for_another_session_is_refused(verb: str, named: str | None) -> None:
    error = refused(request(verb, session_id=named))
    assert error.reason == "wrong_session"
    assert "s-1" in error.text
    assert refused(request(verb), State()).reason == "wrong_session", "also when there is none"


@pytest.mark.parametrize("verb", ANY_SESSION)
def test_some_commands_need_no_session(verb: str) -> None:
    judge(request(verb, session_id=None), State())


@pytest.mark.shows("S12")
@pytest.mark.parametrize("verb", sorted(set(KINDS) - set(ANY_SESSION)))
def test_a_stale_revision_is_refused_except_for_stop_and_pause(verb: str) -> None:
    state = Case().running(5).state
    judge(request(verb, expected_revision=state.revision))
    stale = request(verb, expected_revision=state.revision - 1)
    if verb in STOPPING:
        judge(stale)
    else:
        assert refused(stale).reason == "stale_revision"


# --- plans ---


def plan_args(**changes: Any) -> dict[str, Any]:
    return {**USUAL, **changes}


def test_a_plan_carries_its_rules_and_what_stands_before_it() -> None:
    state = Case().connected().state
    event = judge(request("session.plan"), state)
    assert isinstance(event, ev.PlanOrdered)
    assert event.session_id == "new"
    assert event.plan.volume == Ml(35)
    assert event.before.connected == state.connected
    assert (event.rules.keypad_lock, event.rules.observation_s, event.rules.max_rate) == (True, 600.0, MlPerHour(120))


def test_a_dose_is_by_weight_or_absolute() -> None:
    by_weight = propose(PlanArgs.model_validate(USUAL), SITE).plan.prescription.dose
    absolute = {key: value for key, value in USUAL.items() if key != "dose_mg_per_kg"}
    assert by_weight == MgPerKg("0.5")
    assert propose(PlanArgs.model_validate({**absolute, "dose_mg": 35}), SITE).plan.prescription.dose == Mg(35)


@pytest.mark.shows("S8", "H45", "H48")
@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"drug": "propofol"}, "limit", "'propofol' is not in the drug library; it has: ketamine"),
        ({"container": {**CONTAINER, "make": "Acme"}}, "limit", "Acme 60 mL is not in the syringe table"),
        ({"container": {**CONTAINER, "size_ml": 61}}, "limit", "not in the syringe table"),
        ({"container": {**CONTAINER, "diameter_mm": "26.6"}}, "limit", "the syringe table says 26.59"),
        ({"duration_min": "45.001"}, "malformed", "not a whole number of seconds"),
        ({"weight": WEIGHS_20, "weight_again": WEIGHS_20}, "limit", "weight 20 kg: below the hard limit 30"),
        ({"dose_mg_per_kg": "0.7"}, "limit", "above the soft limit 0.6"),
        ({"dose_mg_per_kg": "5"}, "limit", "hard limit"),
        ({"steps": [{"duration_min": 45, "share_pct": 99}]}, "malformed", "together they give 99.0 %"),
        ({"steps": [{"duration_min": 45, "rate_ml_h": 50}]}, "malformed", "together they give 107.1 %"),
        ({"steps": [{"duration_min": "0.01", "share_pct": 100}]}, "malformed", "whole number of seconds"),
        ({"steps": [{"duration_min": 40, "share_pct": 100}]}, "malformed", "take 40 min, but duration_min says 45"),
        ({"duration_min": 1}, "limit", "step 1 needs 2100.000 mL/h"),
    ],
)
def test_a_prescription_that_cannot_be_is_refused_in_words(changes: dict[str, Any], reason: str, words: str) -> None:
    error = refused(request("session.plan", plan_args(**changes)))
    assert (error.reason, words in error.text) == (reason, True), error.text


def test_a_soft_limit_is_passed_with_name_and_reason() -> None:
    args = plan_args(dose_mg_per_kg="0.7", override={"by": "Dr. A", "reason": "no response"})
    assert isinstance(judge(request("session.plan", args)), ev.PlanOrdered)


@pytest.mark.shows("S8", "H63")
def test_the_lower_of_the_two_weights_makes_the_plan() -> None:
    event = judge(request("session.plan", plan_args(weight_again={"value": 154, "unit": "lb"})))
    assert isinstance(event, ev.PlanOrdered)
    assert event.plan.prescription.weight == Kg("69.853")
    assert event.plan.volume < Ml(35)


def test_each_item_says_who_and_when_or_it_is_the_sender_now() -> None:
    checks = {**USUAL["checks"], "liver": {"result": "normal", "by": "Dr. A", "at": "2026-01-30T10:00:00+02:00"}}
    event = judge(request("session.plan", plan_args(checks=checks)))
    assert isinstance(event, ev.PlanOrdered)
    assert event.intake is not None
    assert event.intake.liver.noted == Noted("Dr. A", "2026-01-30T08:00:00.000Z")
    assert event.intake.vitals.noted == Noted("nurse-1", "2026-01-31T09:30:00.000Z")
    assert event.intake.course.first
    assert event.plan.prescription.session_number == 1


def test_nothing_was_checked_in_the_future() -> None:
    checks = {**USUAL["checks"], "liver": {"result": "normal", "at": "2026-01-31T09:30:01Z"}}
    error = refused(request("session.plan", plan_args(checks=checks)))
    assert error.reason == "malformed"
    assert "args.checks.liver.at: 2026-01-31T09:30:01.000Z is after the request itself" in error.text


def test_what_the_journal_knows_is_held_against_what_is_said() -> None:
    asked = request("session.plan", plan_args(second_person=None))
    former = Former("s-0", Kg(70), 1, 3, 1)
    with pytest.raises(Rejected) as error:
        event_for(asked, State(), SITE, lambda: "new", "ok", former)
    assert "session 1 is entered but the journal's last one was number 1" in error.value.text
    assert error.value.findings, "the answer can show each finding"


@pytest.mark.shows("S14")
def test_an_unverified_syringe_is_for_the_simulator_only() -> None:
    real = replace(SITE, simulated=False)
    assert "is not verified" in refused(request("session.plan"), site=real).text
    checked = plan_args(container={**CONTAINER, "make": "bd CHECKED"})
    assert isinstance(judge(request("session.plan", checked), site=real), ev.PlanOrdered)
    assert "is not verified" in refused(request("session.container"), site=real).text


@pytest.mark.shows("S8")
def test_the_configured_maximum_counts() -> None:
    error = refused(request("session.plan"), site=replace(SITE, max_rate=MlPerHour(40)))
    assert (error.reason, "max 40 mL/h" in error.text) == ("limit", True)


def test_a_pump_that_can_only_be_watched_gets_no_plan() -> None:
    class Watched:
        capabilities = replace(ABLE, control=False)
        fitted = PUMP.fitted

    error = refused(request("session.plan"), site=replace(SITE, pump=Watched()))  # type: ignore[arg-type]
    assert (error.reason, "monitored" in error.text) == ("not_allowed", True)


@pytest.mark.parametrize(
    "steps",
    [
        [{"duration_min": 20, "share_pct": 20}, {"duration_min": 25, "share_pct": 80}],
        [{"duration_min": 20, "rate_ml_h": 21}, {"duration_min": 25, "rate_ml_h": "67.2"}],
        [{"duration_min": 20, "rate_ml_h": 21}, {"duration_min": 25, "share_pct": 80}],
    ],
)
def test_steps_by_share_or_rate_add_up(steps: list[dict[str, Any]]) -> None:
    plan = propose(PlanArgs.model_validate(plan_args(steps=steps)), SITE).plan
    assert [step.rate for step in plan.steps] == [MlPerHour(21), MlPerHour("67.2")]
    assert plan.prescription.duration_s == 2700


# --- views ---


def shown(case: Case) -> Any:
    return views.telemetry(case.state, "one-pump", case.now, 12)


def valid(body: Any) -> None:
    type(body).model_validate(body.model_dump())


CASES = {
    "idle": Case,
    "planned": lambda: Case().planned(),
    "armed": lambda: Case().armed(),
    "running": lambda: Case().running(600),
    "paused": lambda: Case().paused(),
    "observing": lambda: Case().observing(),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("blind", [False, True])
def test_every_message_of_every_phase_is_valid(name: str, blind: bool) -> None:
    case = CASES[name]()
    if blind:
        case.feed(ev.LinkDown("no reply"))
    valid(shown(case))
    valid(views.session(case.state, "one-pump", "one", ABLE, case.now, NOW, 1.0))


@pytest.mark.shows("S7")
def test_what_only_the_pump_can_tell_is_unknown_while_blind() -> None:
    case = Case().running(600)
    seen = shown(case)
    assert (seen.state, seen.rate_read_ml_h, seen.volume_pump_ml) == ("infusing", RATE.value, Decimal("7.776"))
    assert seen.deviation_ml is not None
    assert seen.remaining_origin == "plan"
    case.feed(ev.LinkDown("no reply"))
    unseen = shown(case)
    assert (unseen.state, unseen.rate_read_ml_h, unseen.volume_pump_ml, unseen.deviation_ml) == (
        "unknown", None, None, None,
    )  # fmt: skip
    assert unseen.quality == {
        "rate_read_ml_h": "unavailable",
        "volume_pump_ml": "unavailable",
        "volume_integrated_ml": "estimated",
    }
    assert unseen.remaining_origin == "estimate"
    session = views.session(case.state, "one-pump", "one", ABLE, case.now, NOW, 1.0)
    assert (session.delivered_ml, session.delivered_mg, session.delivered_mg_kg, session.ends_ts) == (None,) * 4


def test_what_was_given_stays_known_when_the_session_is_over() -> None:
    case = Case().observing()
    case.feed(ev.EndOrdered(case.by()))
    case.feed(ev.LinkDown("switched off"))
    assert views.session(case.state, "one-pump", "one", ABLE, case.now, NOW, 1.0).delivered_mg is not None


@pytest.mark.parametrize(
    ("motion", "word"),
    [
        (INFUSING, "infusing"), (Motion.BOLUS, "bolus"), (Motion.PURGING, "purging"), (Motion.KVO, "kvo"),
        (Motion.WITHDRAWING, "withdrawing"), (Motion.UNKNOWN, "unknown"), (STANDING, "stopped"),
    ],
)  # fmt: skip
def test_each_motion_has_its_word(motion: Motion, word: str) -> None:
    case = Case().connected()
    case.read(motion)
    assert shown(case).state == word


def test_a_standing_pump_flows_at_nothing() -> None:
    assert shown(Case().paused()).rate_read_ml_h == Decimal(0)
    assert shown(Case().paused()).rate_plan_ml_h == Decimal(0)
    assert shown(Case().paused()).state == "paused"


def test_the_local_hand_is_shown() -> None:
    case = Case().running(60)
    assert shown(case).control == "remote"
    case.read(INFUSING, "20")
    assert shown(case).control == "local"


def test_what_can_be_confirmed_now_is_offered() -> None:
    for case in (Case().armed(), Case().paused()):
        offered = views.session(case.state, "one-pump", "one", ABLE, case.now, NOW, 1.0)
        expected = case.confirm()
        assert (offered.confirm_rate_ml_h, offered.confirm_volume_ml) == (expected.rate.value, expected.volume.value)


@pytest.mark.shows("H21")
def test_an_alarm_is_shown_with_its_catalogue() -> None:
    board = Board().raise_("no_flow", "one-pump", "s-1", Moment(1.0, "2026-01-31T09:30:00.000Z"), "id-1", 1)
    body = views.alarm(board.alarms[0], "one", AudioPause(60.0, "nurse"), 1.0, NOW)
    valid(body)
    assert (body.priority, body.kind, body.condition, body.inactivation) == (
        "high",
        "patient",
        "present",
        "audio-paused",
    )


@pytest.mark.shows("S1", "H11")
def test_what_a_pump_could_still_give_unminded_is_bounded_by_its_watchdog_or_by_what_is_left() -> None:
    case = Case().running(600)

    def told(able: Capabilities) -> tuple[Any, ...]:
        document = views.session(case.state, "one-pump", "one", able, case.now, NOW, 1.0)
        return document.unminded_s, document.unminded_ml, document.unminded_mg

    assert told(replace(ABLE, watchdog_s=(8, 10))) == (10, Decimal("0.13"), Decimal("0.13"))  # 46.66 mL/h, rounded up
    left = Decimal("35.00") - Decimal("7.77")  # 7.776 mL are counted; what is left is rounded up
    assert told(replace(ABLE, watchdog_s=None)) == (None, left, left)
    assert told(replace(ABLE, watchdog_s=(8, 10_000))) == (10_000, left, left)
    case.feed(ev.EndOrdered(case.by()))
    assert told(replace(ABLE, watchdog_s=None)) == (None, None, None)
