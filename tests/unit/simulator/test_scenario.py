from pathlib import Path
from typing import Any

import pytest

from simulator.device import DOERS, Device
from simulator.requests import ACTIONS, BadRequest
from simulator.scenario import check, load_scenario, parse_scenario

EXAMPLES = sorted((Path(__file__).parents[3] / "config" / "scenarios").glob("*.toml"))
PLAN_RATE = b"RAT 46.67 MH\r"


def started(scenario: str, **options: Any) -> Device:
    """A pump under a script, infusing at 46.67 mL/h since wire time 100 s."""
    device = Device(scenario=load_scenario(EXAMPLES[0].parent / f"{scenario}.toml"), **options)
    device.receive(b"\r", 0.0)
    device.receive(PLAN_RATE, 0.0)
    device.receive(b"RUN\r", 100.0)
    device.outgoing(100.0)
    return device


def state_at(device: Device, at: float) -> dict[str, Any]:
    device.advance(at)
    return device.truth()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_loads_and_says_what_it_shows(path: Path) -> None:
    assert load_scenario(path).description


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4


def test_every_action_that_may_be_asked_for_can_be_done() -> None:
    assert set(ACTIONS) == set(DOERS)


def test_occlusion_stalls_the_pump_and_gives_a_bolus_at_release() -> None:
    device = started("occlusion")
    before = state_at(device, 699.9)
    assert (before["alarm"], before["occluded"]) == (None, False)
    during = state_at(device, 999.9)
    assert (during["alarm"], during["state"], during["occluded"]) == ("S", "S", True)
    after = state_at(device, 1000.1)
    assert after["patient_ml"] - during["patient_ml"] == pytest.approx(1.2, abs=0.01)


def test_first_run_scripts_wait_for_the_first_infusion_at_any_speed() -> None:
    device = started("occlusion", speed=60.0)
    assert state_at(device, 109.99)["occluded"] is False
    assert state_at(device, 110.01)["occluded"] is True


def test_keypad_script_turns_stops_and_restarts() -> None:
    device = started("keypad")
    assert state_at(device, 399.0)["rate_ml_h"] == pytest.approx(46.67)
    assert state_at(device, 401.0)["rate_ml_h"] == pytest.approx(60.0)
    assert state_at(device, 1001.0)["state"] == "P"
    assert state_at(device, 1121.0)["state"] == "I"


def test_power_cut_script_leaves_a_standing_pump_in_alarm() -> None:
    device = started("power-cut")
    assert state_at(device, 1310.0)["powered"] is False
    back = state_at(device, 1321.0)
    assert (back["powered"], back["state"], back["alarm"]) == (True, "S", "R")


def test_one_long_step_of_time_ends_as_many_short_ones() -> None:
    once, often = started("keypad"), started("keypad")
    once.advance(2800.0)
    at = 100.0
    while at < 2800.0:
        at = min(at + 0.7, 2800.0)
        often.advance(at)
    assert once.truth()["plunger_ml"] == pytest.approx(often.truth()["plunger_ml"], abs=1e-9)
    assert once.truth()["plunger_ml_by"] == pytest.approx(often.truth()["plunger_ml_by"], abs=1e-9)


def test_noisy_line_script_is_the_same_noise_for_the_same_seed() -> None:
    def heard(seed: int) -> list[bytes]:
        device = Device(scenario=load_scenario(EXAMPLES[0].parent / "noisy-line.toml"), seed=seed)
        answers = []
        for second in range(600):
            device.receive(b"VER\r", float(second))
            answers.append(device.outgoing(second + 0.5))
        return answers

    assert heard(1) == heard(1)
    assert heard(1) != heard(2)
    assert len(set(heard(1))) > 10


STEP = "[[step]]\nat_s = 1\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[step", "ward.toml: not TOML"),
        ("zero = 'noon'", "ward.toml: zero = 'noon': expected one of power-on, first-run"),
        ("sped = 2", "ward.toml: sped: unknown key; known: description, family, zero, invented, step"),
        ("step = 3", r"ward.toml: step: expected \[\[step\]\] tables"),
        ("[[step]]\ndo = 'stall'", "ward.toml: step 1: stall: at_s is missing, expected session seconds"),
        (STEP, "ward.toml: step 1: do = None: expected one of press"),
        (STEP + "do = 'explode'", "step 1: do = 'explode': expected one of press"),
        (STEP + "do = 'stall'\n" + STEP + "do = 'press'", "step 2: press: key is missing, expected a key"),
        (STEP + "do = 'press'\nkey = 'off'", "step 1: press: key = 'off': expected one of run, stop"),
        (STEP + "do = 'occlude'\nfor = 3", "step 1: occlude: for is not known here; known keys: do, for_s, at_s"),
        (STEP + "do = 'occlude'\nfor_s = 0", "step 1: occlude: for_s = 0: expected a number of seconds above 0"),
        (STEP + "do = 'occlude'\nfor_s = true", "for_s = True: expected a number of seconds"),
        (STEP + "do = 'set_rate'\nml_h = '50'", "set_rate: ml_h = '50': expected a rate in mL/h above 0"),
        (STEP + "do = 'fault'\nkind = 'delay'", "fault: kind 'delay': expected delay_s above 0"),
        (STEP + "do = 'fault'\nkind = 'drop'\nprobability = 7", "probability = 7: expected a number from 0 to 1"),
        ("[invented]\nfoo = 1", r"ward.toml: \[invented\] foo: unknown key; known: reply_delay_s"),
        ("[invented]\npurge_is_counted = 1", r"\[invented\] purge_is_counted = 1: expected bool"),
        ("[invented]\nsecond_phase = 'INC'", r"\[invented\] second_phase = 'INC': expected STP or RAT"),
    ],
)
def test_a_bad_script_is_refused_with_file_key_and_what_was_expected(text: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        parse_scenario(text, "ward.toml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"nowhere\.toml: cannot be read: No such file"):
        load_scenario(tmp_path / "nowhere.toml")


def test_a_request_needs_no_time() -> None:
    check({"do": "press", "key": "run"})
    with pytest.raises(BadRequest, match="at_s is not known here"):
        check({"do": "stall", "at_s": 3})
