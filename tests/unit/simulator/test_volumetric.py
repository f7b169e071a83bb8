from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.battery import Battery
from simulator.infuser import Doing, Infuser, Manners
from simulator.physics import Model
from simulator.pump import Halt, Refused
from simulator.troubles import Trouble
from simulator.volumetric import Tubing, Volumetric, volumetric_model
from tests.unit.simulator.toy_family import pass_time

ALARM_MMHG = 600.0
IDEAL = volumetric_model("ideal", 1)
rates = st.floats(1.0, 1200.0)
cuts = st.lists(st.floats(0.0, 400.0), min_size=1, max_size=30)
models = st.sampled_from([IDEAL, volumetric_model("typical", 1), volumetric_model("typical", 7)])
sets = st.builds(
    Tubing,
    upper_ml=st.floats(0.5, 15.0),
    drawn_ml=st.floats(0.05, 0.5),
    clamps_itself=st.booleans(),
    sees_air=st.booleans(),
    sees_upstream=st.booleans(),
    drops_s=st.sampled_from([math.inf, 20.0]),
)
HANDS = ["infuse", "stop", "occlude", "upstream", "release", "bag", "air", "open", "close", "free", "clamp"]
steps = st.lists(st.tuples(st.sampled_from(HANDS), rates, st.floats(0.0, 300.0)), max_size=20)
FOR_A_HALT = ["", "occlude", "upstream", "air"]
Steps = list[tuple[str, float, float]]


def pump(model: Model = IDEAL, *, fill_ml: float = 100.0, **tubing: Any) -> Volumetric:
    return Volumetric(model, fill_ml=fill_ml, alarm_mmhg=ALARM_MMHG, tubing=Tubing(**tubing))


def run(body: Volumetric, seconds: float) -> None:
    """Let time pass even after the motor has stopped."""
    while seconds > 0:
        seconds -= body.advance(seconds)


def handle(body: Volumetric, what: str, rate: float) -> None:
    if what == "infuse":
        body.infuse(rate)
    elif what == "upstream":
        body.occlude("upstream")
    elif what == "bag":
        body.new_container(rate / 10)
    elif what == "air":
        body.put_air(rate / 2000)
    elif what in ("open", "close"):
        body.open_door(what == "open")
    elif what in ("free", "clamp"):
        if not body.tubing.clamps_itself:
            body.free_flow(what == "free")
    else:
        getattr(body, what)()


def test_it_gives_rate_times_time() -> None:
    body = pump()
    body.infuse(60.0)
    run(body, 600)
    assert (body.plunger_ml, body.moved_ml, body.left_ml) == pytest.approx((10.0, 10.0, 90.0))
    assert body.patient_ml == body.plunger_ml


@given(steps, models, sets, st.floats(1.0, 100.0))
def test_no_fluid_is_made_or_lost(
    steps: list[tuple[str, float, float]], model: Model, tubing: Tubing, fill: float
) -> None:
    body = Volumetric(model, fill_ml=fill, alarm_mmhg=ALARM_MMHG, tubing=tubing)
    for what, rate, seconds in steps:
        handle(body, what, rate)
        patient_ml, closed = body.patient_ml, body.occluded
        run(body, seconds)
        assert body.bag_ml + body.set_ml + body.patient_ml == pytest.approx(body.hung_ml, abs=1e-6)
        assert body.bag_ml >= 0
        assert 0 <= body.pressure_mmhg <= ALARM_MMHG + 1e-6 or not closed
        assert body.patient_ml >= patient_ml - 1e-9
        if closed:
            assert body.patient_ml == pytest.approx(patient_ml, abs=1e-9)


@given(steps, models, sets, cuts)
def test_the_result_does_not_depend_on_how_time_is_cut(
    steps: Steps, model: Model, tubing: Tubing, pieces: list[float]
) -> None:
    once, often = (Volumetric(model, fill_ml=20.0, alarm_mmhg=ALARM_MMHG, tubing=tubing) for _ in range(2))
    for what, rate, _ in steps:
        for body in (once, often):
            handle(body, what, rate)
        run(once, math.fsum(pieces))
        for piece in pieces:
            run(often, piece)
        for name in ("plunger_ml", "patient_ml", "pressure_mmhg", "moved_ml", "bag_ml"):
            assert getattr(often, name) == pytest.approx(getattr(once, name), rel=1e-6, abs=1e-6), name
        assert often.halt is once.halt


@given(rates, st.floats(0.001, 50.0), cuts)
def test_the_limit_is_never_passed_and_is_reached_exactly(rate: float, limit: float, pieces: list[float]) -> None:
    body = pump()
    body.infuse(rate, limit)
    for piece in pieces:
        run(body, piece)
        assert body.plunger_ml <= limit + 1e-9
    run(body, limit / rate * 3600 + 1)
    assert body.halt is Halt.LIMIT
    assert body.moved_ml == pytest.approx(limit, abs=1e-12)


@given(rates, models, sets, st.floats(0.1, 80.0), st.floats(0.1, 60.0), st.sampled_from(FOR_A_HALT))
def test_the_moment_of_the_halt_is_foretold(
    rate: float, model: Model, tubing: Tubing, limit: float, fill: float, hand: str
) -> None:
    body = Volumetric(model, fill_ml=fill, alarm_mmhg=ALARM_MMHG, tubing=tubing)
    body.infuse(rate, limit)
    if hand:
        handle(body, hand, rate)
    foretold = body.until_halt()
    assert body.advance(1e9) == pytest.approx(foretold, rel=1e-6, abs=1e-6)
    assert body.halt is not None


def test_an_occlusion_below_builds_pressure_to_the_alarm_and_gives_its_bolus_at_release() -> None:
    body = pump()
    body.infuse(60.0)
    body.occlude()
    assert body.advance(1e9) == pytest.approx(0.6 / 60 * 3600)  # 600 mmHg x 1 uL/mmHg
    assert (body.halt, body.pressure_mmhg) == (Halt.OCCLUSION, pytest.approx(600.0))
    assert body.patient_ml == pytest.approx(0.0, abs=1e-12)
    body.release()
    assert body.patient_ml == pytest.approx(0.6)


def test_without_a_sensor_the_motor_stalls() -> None:
    body = Volumetric(IDEAL)
    body.infuse(60.0)
    body.occlude()
    run(body, 3600)
    assert (body.halt, body.pressure_mmhg) == (Halt.STALL, pytest.approx(1000.0))


def test_an_occlusion_above_draws_the_set_empty() -> None:
    body = pump()
    body.infuse(60.0)
    body.occlude("upstream")
    assert body.advance(1e9) == pytest.approx(30.0)
    assert (body.halt, body.plunger_ml, body.bag_ml) == (Halt.UPSTREAM, pytest.approx(0.5), 100.0)
    body.release()
    assert body.bag_ml == pytest.approx(99.5)
    body.infuse(60.0)
    run(body, 60)
    assert (body.halt, body.plunger_ml, body.bag_ml) == (None, pytest.approx(1.5), pytest.approx(98.5))


def test_a_pump_that_does_not_see_it_counts_what_never_came_until_no_drop_falls() -> None:
    body = pump(sees_upstream=False, drops_s=20.0)
    body.infuse(60.0)
    body.occlude("upstream")
    assert body.advance(1e9) == pytest.approx(50.0)
    assert (body.halt, body.plunger_ml) == (Halt.DROPS, pytest.approx(0.5))
    assert body.moved_ml == pytest.approx(50 / 60)
    blind = pump(sees_upstream=False)
    blind.infuse(60.0)
    blind.occlude("upstream")
    run(blind, 3600)
    assert (blind.turning, blind.moved_ml, blind.plunger_ml) == (True, pytest.approx(60.0), pytest.approx(0.5))


def test_air_follows_an_empty_bag() -> None:
    body = pump(fill_ml=10.0)
    body.infuse(60.0)
    assert body.advance(1e9) == pytest.approx(18 * 60)
    assert (body.halt, body.bag_ml, body.plunger_ml) == (Halt.AIR, 0.0, pytest.approx(18.0))
    body.infuse(60.0)
    run(body, 1)
    assert (body.halt, body.plunger_ml) == (Halt.AIR, pytest.approx(18.0))
    body.new_container(50.0)
    assert body.bag_ml == pytest.approx(42.0)
    body.infuse(60.0)
    run(body, 60)
    assert (body.halt, body.plunger_ml) == (None, pytest.approx(19.0))


def test_a_small_bag_does_not_fill_a_set_full_of_air() -> None:
    body = pump(fill_ml=1.0)
    body.infuse(60.0)
    run(body, 3600)
    body.new_container(3.0)
    assert (body.bag_ml, body.set_ml) == (0.0, pytest.approx(3.0))
    body.infuse(60.0)
    run(body, 3600)
    assert (body.halt, body.plunger_ml) == (Halt.AIR, pytest.approx(12.0))


def test_a_pump_without_an_air_detector_ends_dry() -> None:
    body = pump(fill_ml=1.0, sees_air=False)
    body.put_air(5.0)
    body.infuse(60.0)
    run(body, 3600)
    assert (body.halt, body.plunger_ml) == (Halt.EMPTY, pytest.approx(9.0))


@pytest.mark.parametrize(("ml", "halt"), [(0.29, None), (0.3, Halt.AIR)])
def test_a_bubble_halts_it_from_a_size_on(ml: float, halt: Halt | None) -> None:
    body = pump()
    body.infuse(60.0)
    body.put_air(ml)
    run(body, 1)
    assert body.halt is halt
    body.put_air(0.0)
    body.infuse(60.0)
    run(body, 1)
    assert body.turning
    body.put_air(1.0)
    body.new_container(50.0)
    run(body, 1)
    assert body.turning


def test_an_open_door_stops_the_motor() -> None:
    body = pump()
    body.infuse(60.0)
    body.open_door(True)
    run(body, 10)
    assert (body.halt, body.plunger_ml) == (Halt.DOOR, 0.0)


def test_free_flow_runs_until_the_bag_is_empty_or_somebody_closes_it() -> None:
    with pytest.raises(Refused, match="the set closes itself"):
        pump().free_flow(True)
    body = pump(clamps_itself=False, gravity_ml_h=1200.0)
    body.infuse(60.0)
    body.free_flow(True)
    run(body, 60)
    assert (body.turning, body.plunger_ml, body.moved_ml) == (False, pytest.approx(20.0), 0.0)
    body.open_door(False)
    run(body, 60)
    assert body.plunger_ml == pytest.approx(20.0)
    body.free_flow(True)
    run(body, 3600)
    assert (body.plunger_ml, body.bag_ml) == (pytest.approx(100.0), 0.0)


def test_a_typical_pump_is_late_and_within_five_percent() -> None:
    gains = [volumetric_model("typical", seed).gain for seed in range(50)]
    assert all(0.95 <= gain <= 1.05 for gain in gains)
    assert max(gains) > 1.02
    with pytest.raises(ValueError, match="expected ideal or typical"):
        volumetric_model("odd", 1)
    with pytest.raises(ValueError, match="fill 0 ml"):
        Volumetric(fill_ml=0)


# -- behind the common face


def faced(**tubing: Any) -> Infuser:
    face = Infuser(pump(**tubing), Battery(60.0), Manners(near_empty_ml=2.0))
    face.set_rate(60.0)
    face.start()
    return face


@pytest.mark.parametrize(
    ("requests", "trouble"),
    [
        ([{"do": "air", "ml": 1.0}], Trouble.AIR),
        ([{"do": "door", "state": "open"}], Trouble.DOOR),
        ([{"do": "free_flow", "state": "on"}], Trouble.FREE_FLOW),
    ],
)
def test_what_happens_at_the_set_shows_at_the_face(requests: list[dict[str, Any]], trouble: Trouble) -> None:
    face = faced(clamps_itself=False)
    for request in requests:
        face.meddle(request)
    face.notice()
    pass_time(face, 1)
    assert trouble in face.troubles
    assert face.doing is Doing.HELD


@pytest.mark.parametrize(
    ("where", "trouble"), [("downstream", Trouble.OCCLUSION), ("upstream", Trouble.UPSTREAM_OCCLUSION)]
)
def test_the_two_occlusions_are_told_apart(where: str, trouble: Trouble) -> None:
    face = faced()
    face.body.occlude(where)
    pass_time(face, 3600)
    assert face.troubles == (trouble,)


def test_it_does_not_know_its_bag() -> None:
    face = faced(fill_ml=10.0)
    assert face.time_left_s is None
    pass_time(face, 3600)
    assert face.troubles == (Trouble.AIR,)


def test_gravity_is_booked_as_such_also_in_the_dark() -> None:
    face = faced(clamps_itself=False)
    pass_time(face, 60)
    face.meddle({"do": "free_flow", "state": "on"})
    face.notice()
    pass_time(face, 36)
    face.power_off()
    pass_time(face, 36)
    assert face.motions.by == {"wire": pytest.approx(1.0), "gravity": pytest.approx(30.0)}
    assert face.infused_ml == pytest.approx(1.0)
