import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.physics import IDEAL, STALL_MMHG, Body, Halt, Model, model_named, typical

BD_60_MM = 26.59
rates = st.floats(0.1, 1500.0)
cuts = st.lists(st.floats(0.0, 400.0), min_size=1, max_size=30)
models = st.sampled_from([IDEAL, typical(1), typical(7), Model(compliance_ml_mmhg=2.8e-3, resistance_mmhg_h_ml=0.5)])


def driven(rate_ml_h: float, *, limit_ml: float = math.inf, model: Model = IDEAL, fill_ml: float = 60.0) -> Body:
    body = Body(model, fill_ml=fill_ml)
    body.drive(rate_ml_h, 1, BD_60_MM, limit_ml)
    return body


def run(body: Body, seconds: float) -> None:
    """Let time pass even after the motor has stopped."""
    while seconds > 0:
        seconds -= body.advance(seconds)


def test_an_ideal_pump_displaces_rate_times_time() -> None:
    body = driven(46.67)
    run(body, 2700)
    assert body.plunger_ml == pytest.approx(46.67 * 0.75, abs=1e-9)
    assert body.patient_ml == body.plunger_ml


@given(rates, cuts, models, st.floats(0.001, 80.0), st.floats(1.0, 60.0), st.booleans())
def test_the_result_does_not_depend_on_how_time_is_cut(
    rate: float, pieces: list[float], model: Model, limit: float, fill: float, occluded: bool
) -> None:
    once = driven(rate, limit_ml=limit, model=model, fill_ml=fill)
    often = driven(rate, limit_ml=limit, model=model, fill_ml=fill)
    for body in (once, often):
        if occluded:
            body.occlude()
    run(once, math.fsum(pieces))
    for piece in pieces:
        run(often, piece)
    for name in ("plunger_ml", "patient_ml", "pressure_mmhg", "moved_ml"):
        assert getattr(often, name) == pytest.approx(getattr(once, name), rel=1e-6, abs=1e-6), name


@given(rates, st.floats(0.001, 50.0), cuts)
def test_the_volume_limit_is_never_passed_and_is_reached_exactly(
    rate: float, limit: float, pieces: list[float]
) -> None:
    body = driven(rate, limit_ml=limit)
    for piece in pieces:
        run(body, piece)
        assert body.plunger_ml <= limit + 1e-9
    run(body, limit / rate * 3600 + 1)
    assert body.halt is Halt.LIMIT
    assert body.moved_ml == pytest.approx(limit, abs=1e-12)
    assert body.plunger_ml == pytest.approx(limit, abs=1e-9)


@given(
    st.lists(
        st.tuples(st.sampled_from(["drive", "stop", "occlude", "release"]), rates, st.floats(0, 300)), max_size=20
    ),
    models,
)
def test_no_fluid_is_made_or_lost(steps: list[tuple[str, float, float]], model: Model) -> None:
    body = Body(model)
    for what, rate, seconds in steps:
        if what == "drive":
            body.drive(rate, 1, BD_60_MM)
        else:
            getattr(body, what)()
        before_ml, closed = body.patient_ml, body.occluded
        run(body, seconds)
        if closed:
            assert body.patient_ml == pytest.approx(before_ml, abs=1e-9)  # nothing passes a closed line
        assert body.patient_ml >= before_ml - 1e-9  # and nothing comes back
        assert body.patient_ml <= body.plunger_ml + 1e-9
        assert body.left_ml >= -1e-9
        assert body.pressure_mmhg <= STALL_MMHG + 1e-6 or not closed
    body.stop()
    body.release()
    run(body, 3600)
    assert body.patient_ml == pytest.approx(body.plunger_ml, abs=1e-9)


@given(rates, models, st.floats(0.001, 80.0), st.floats(1.0, 60.0), st.booleans(), st.floats(0, 20))
def test_the_moment_of_the_halt_is_foretold(
    rate: float, model: Model, limit: float, fill: float, occluded: bool, before: float
) -> None:
    body = driven(rate, limit_ml=limit, model=model, fill_ml=fill)
    if occluded:
        body.occlude()
    body.advance(before)
    if body.turning:
        foretold = body.until_halt()
        assert body.advance(1e9) == pytest.approx(foretold, rel=1e-6, abs=1e-6)


# clinical notes, section 8: C = 1.2 uL/mmHg, 46.67 mL/h: 500 mmHg after 46 s, 0.60 mL at release
@pytest.mark.shows("H60", "risk:occlusion")
def test_an_occlusion_stores_a_bolus_and_gives_it_at_release() -> None:
    body = driven(46.67)
    run(body, 60)
    before_ml = body.patient_ml
    body.occlude()
    run(body, 46.28)
    assert body.pressure_mmhg == pytest.approx(500, abs=0.1)
    assert body.patient_ml == pytest.approx(before_ml, abs=1e-9)
    body.release()
    assert body.patient_ml - before_ml == pytest.approx(0.60, abs=0.001)


def test_an_occlusion_stalls_the_motor_at_its_strength() -> None:
    body = driven(50.0)
    body.occlude()
    passed = body.advance(1000)
    assert body.halt is Halt.STALL
    assert passed == pytest.approx(86.4)  # 1000 mmHg x 1.2 uL/mmHg at 50 mL/h; a study measured 81 s
    assert body.pressure_mmhg == pytest.approx(STALL_MMHG)


def test_a_real_line_lets_the_bolus_go_over_seconds() -> None:
    body = driven(46.67, model=typical(1))
    run(body, 60)
    body.occlude()
    run(body, 40)
    body.stop()
    held = body.plunger_ml - body.patient_ml
    body.release()
    run(body, 1)
    assert 0 < body.plunger_ml - body.patient_ml < held
    run(body, 60)
    assert body.plunger_ml == pytest.approx(body.patient_ml, abs=1e-6)


# clinical notes, section 8: a wrong diameter is a rate error of (d1/d2)^2; 29.7 against 26.59 is 25 %
@pytest.mark.shows("risk:wrong-diameter")
def test_a_wrong_syringe_gives_the_square_of_the_diameters() -> None:
    body = Body(true_diameter_mm=29.7)
    body.drive(40.0, 1, BD_60_MM)
    run(body, 3600)
    assert body.moved_ml == pytest.approx(40.0)
    assert body.plunger_ml == pytest.approx(40.0 * (29.7 / 26.59) ** 2)
    assert body.plunger_ml / body.moved_ml == pytest.approx(1.2476, abs=1e-4)


def test_an_empty_syringe_stalls_the_motor() -> None:
    body = driven(60.0, fill_ml=10.0)
    assert body.until_halt() == pytest.approx(600)
    run(body, 3600)
    assert body.halt is Halt.STALL
    assert body.plunger_ml == pytest.approx(10.0)


def test_a_new_syringe_can_be_emptied_again() -> None:
    body = driven(60.0, fill_ml=1.0)
    run(body, 3600)
    body.new_container(5.0)
    body.drive(60.0, 1, BD_60_MM)
    run(body, 3600)
    assert body.plunger_ml == pytest.approx(6.0)


def test_withdrawing_takes_back() -> None:
    body = driven(60.0)
    run(body, 60)
    body.drive(30.0, -1, BD_60_MM)
    run(body, 60)
    assert body.plunger_ml == pytest.approx(0.5)
    assert body.moved_ml == pytest.approx(0.5)


def test_a_typical_pump_is_late_slack_and_within_two_percent() -> None:
    model = typical(3)
    body = driven(36.0, model=model)
    run(body, 0.2)
    assert body.moved_ml == 0  # the motor has not turned yet
    run(body, 5.0)
    assert body.moved_ml == pytest.approx(0.05)
    assert body.plunger_ml == pytest.approx(0.0, abs=1e-9)  # slack taken up, plunger about to move
    run(body, 3600 - 5.2)
    assert 0.98 <= body.plunger_ml / (36.0 * (3600 - 5.2) / 3600) <= 1.02
    assert body.plunger_ml != pytest.approx(body.moved_ml, rel=1e-3)


def test_the_seed_decides_the_error() -> None:
    assert typical(5) == typical(5)
    assert typical(5).gain != typical(6).gain


def test_nonsense_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="expected ideal or typical"):
        model_named("perfect", 1)
    with pytest.raises(ValueError, match="fill 0 ml"):
        Body(fill_ml=0)
    with pytest.raises(ValueError, match="true diameter -1 mm"):
        Body(true_diameter_mm=-1)
