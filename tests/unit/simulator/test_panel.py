import contextlib

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from simulator.families.newera_invented import Invented
from simulator.families.newera_panel import FAULT, KEYS, Panel, State
from simulator.families.newera_program import Refused, Settings, read_number, show_number
from simulator.physics import Body


def pump(**factory: object) -> Panel:
    """A pump at 60 mL/h with its alarm acknowledged."""
    panel = Panel(Body(), Settings(), Invented(**factory))  # type: ignore[arg-type]
    panel.acknowledge()
    panel.set_rate("60", "MH")
    return panel


def test_power_on_is_an_alarm_until_acknowledged() -> None:
    panel = Panel(Body(), Settings(), Invented())
    with pytest.raises(Refused, match=r"\?NA"):
        panel.run()
    assert panel.acknowledge() == "R"
    assert panel.alarm is None


def test_first_stop_pauses_second_resets_third_is_refused() -> None:
    panel = pump()
    panel.run()
    panel.stop()
    assert panel.state.value == "P"
    panel.stop()
    assert panel.state.value == "S"
    with pytest.raises(Refused, match=r"\?NA"):
        panel.stop()


def test_resume_keeps_the_phase_volume_and_a_fresh_run_zeroes_it() -> None:
    panel = pump()
    panel.set_volume("2")
    panel.run()
    panel.advance(60)
    panel.stop()
    panel.run()
    panel.advance(3600)
    assert panel.counted_ml["INF"] == pytest.approx(2.0)
    panel.run()
    panel.advance(60)
    panel.stop()
    panel.stop()
    panel.run()
    panel.advance(3600)
    assert panel.counted_ml["INF"] == pytest.approx(2.0 + 1.0 + 2.0)


def test_the_limit_holds_inside_one_long_step_of_time() -> None:
    panel = pump()
    panel.set_volume("5")
    panel.run()
    panel.advance(24 * 3600)
    assert panel.state is State.STOPPED
    assert panel.body.plunger_ml == pytest.approx(5.0, abs=1e-9)


def test_a_rate_change_does_not_move_the_limit() -> None:
    panel = pump()
    panel.set_volume("5")
    panel.run()
    panel.advance(60)
    panel.set_rate("600", None)
    panel.advance(3600)
    assert panel.body.plunger_ml == pytest.approx(5.0, abs=1e-9)


def test_a_key_in_alarm_only_acknowledges() -> None:
    panel = pump()
    panel.run()
    panel.stall()
    panel.press("run")
    assert (panel.alarm, panel.state) == (None, State.STOPPED)
    panel.press("run")
    assert panel.state is State.INFUSING


def test_keys_change_the_rate_by_a_tenth() -> None:
    panel = pump()
    panel.run()
    panel.press("rate_up")
    assert panel.motor_rate_ml_h == pytest.approx(66.0)
    panel.press("rate_down")
    assert panel.motor_rate_ml_h == pytest.approx(59.4)


def test_a_locked_keypad_still_stops() -> None:
    panel = pump()
    panel.settings.flags["LOC"] = 1
    with pytest.raises(Refused, match="keypad locked"):
        panel.press("run")
    with pytest.raises(Refused, match="keypad locked"):
        panel.dial_rate(99.0)
    panel.run()
    panel.press("stop")
    assert panel.state is State.PAUSED


def test_the_foot_switch_obeys_the_trigger_setting() -> None:
    panel = pump()
    panel.press("foot")
    assert panel.state.value == "I"
    panel.press("foot")
    assert panel.state.value == "P"
    panel.settings.trigger = "OF"
    with pytest.raises(Refused, match="trigger input off"):
        panel.press("foot")


def test_volume_is_attributed_to_whoever_moved_the_motor() -> None:
    panel = pump()
    panel.run()
    panel.advance(60)
    panel.dial_rate(120.0)
    panel.advance(60)
    panel.set_rate("60", None)
    panel.advance(60)
    assert panel.motions.by == pytest.approx({"wire": 2.0, "keypad": 2.0})


def test_each_motion_tells_who_began_it_how_fast_and_under_which_limit() -> None:
    panel = pump()
    panel.set_volume("5")
    panel.set_rate("60", None)
    panel.press("run")
    panel.advance(60)
    panel.set_rate("120", None)
    panel.advance(60)
    panel.stop()
    panel.dial_rate(30.0)
    panel.run()
    panel.advance(60)
    told = [(motion.by, motion.started_by, motion.rate_ml_h, motion.wire_rate_ml_h) for motion in panel.motions.last]
    assert told == [("keypad", "keypad", 60, 60), ("wire", "keypad", 120, 60), ("wire", "wire", 30, 120)]
    assert [motion.limit_ml for motion in panel.motions.last] == pytest.approx([5.0, 4.0, 2.0])
    assert [motion.plunger_ml for motion in panel.motions.last] == pytest.approx([1.0, 2.0, 0.5])


def test_a_pump_that_runs_away_starts_or_races_and_shows_the_rate_it_runs_at() -> None:
    panel = pump()
    panel.run_away(90.0)
    panel.advance(60)
    assert (panel.state, panel.rate()) == (State.INFUSING, 90.0)
    assert panel.motions.by == pytest.approx({FAULT: 1.5})
    panel.set_rate("60", None)
    panel.run_away(120.0)
    panel.advance(30)
    assert panel.motions.by == pytest.approx({FAULT: 2.5})
    assert panel.motions.last[-1].started_by == FAULT
    assert panel.motions.last[-1].wire_rate_ml_h == 60
    panel.stop()
    assert not panel.body.turning


def test_a_pump_in_alarm_does_not_run_away() -> None:
    panel = pump()
    panel.stall()
    with pytest.raises(Refused):
        panel.run_away(90.0)


def test_without_power_fail_restart_a_power_cut_ends_the_run() -> None:
    panel = pump()
    panel.run()
    panel.power_off()
    panel.advance(60)
    panel.power_on()
    assert (panel.state, panel.alarm) == (State.STOPPED, "R")
    assert panel.body.plunger_ml == 0


def test_with_power_fail_restart_the_pump_goes_on_by_itself_with_alarm_r() -> None:
    panel = pump()
    panel.settings.flags["PF"] = 1
    panel.run()
    panel.power_off()
    panel.power_on()
    assert (panel.state, panel.alarm) == (State.INFUSING, "R")
    panel.advance(60)
    assert panel.motions.by == pytest.approx({"power return": 1.0})


def test_a_later_phase_without_a_rate_is_a_program_error() -> None:
    panel = pump()
    panel.set_volume("1")
    panel.select_phase(2)
    panel.set_function("RAT")
    panel.select_phase(1)
    panel.run()
    panel.advance(3600)
    assert (panel.state, panel.alarm) == (State.STOPPED, "E")


def test_a_pause_phase_can_be_interrupted_and_resumed() -> None:
    panel = pump()
    panel.set_function("PAS10")
    panel.run()
    assert panel.state is State.WAITING
    panel.advance(4)
    panel.stop()
    panel.advance(100)
    panel.run()
    assert panel.until_change() == pytest.approx(6.0)


def test_sticky_direction_follows_the_phase_before() -> None:
    panel = pump()
    panel.set_direction("WDR")
    panel.set_volume("1")
    panel.select_phase(2)
    panel.set_function("RAT")
    panel.set_rate("60", "MH")
    panel.set_direction("STK")
    panel.select_phase(1)
    panel.run()
    panel.advance(90)
    assert panel.state is State.WITHDRAWING
    assert panel.counted_ml["WDR"] == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0.000"),
        (5, "5.000"),
        (9.9999, "9.999"),
        (10, "10.00"),
        (26.59, "26.59"),
        (999.94, "999.9"),
        (1000, "1000."),
        (9999, "9999."),
        (10_001, "1.000"),
    ],
)
def test_numbers_are_five_characters_wide_and_rounded_down(value: float, shown: str) -> None:
    assert show_number(value) == shown


@pytest.mark.parametrize("text", ["", ".", "12345", "1.2345", "1.2.3", "0.0001"])
def test_other_numbers_are_out_of_range(text: str) -> None:
    with pytest.raises(Refused, match=r"\?OOR"):
        read_number(text)


class PanelMachine(RuleBasedStateMachine):
    """Whatever hands and hosts do, the pump keeps its own rules."""

    def __init__(self) -> None:
        super().__init__()
        self.panel = pump()
        self.panel.set_volume("3")
        self.runs = 0

    def attempt(self, what: object, *args: object) -> None:
        with contextlib.suppress(Refused):
            what(*args)  # type: ignore[operator]

    @rule(key=st.sampled_from(sorted(set(KEYS) - {"purge"})))
    def press(self, key: str) -> None:
        before = self.panel.state
        self.attempt(self.panel.press, key)
        if before is State.STOPPED and self.panel.state is State.INFUSING:
            self.runs += 1

    @rule()
    def run_by_wire(self) -> None:
        before = self.panel.state
        self.attempt(self.panel.run)
        if before is State.STOPPED and self.panel.state is State.INFUSING:
            self.runs += 1

    @rule()
    def stop_by_wire(self) -> None:
        self.attempt(self.panel.stop)

    @rule(rate=st.integers(1, 1500))
    def change_rate(self, rate: int) -> None:
        self.attempt(self.panel.set_rate, str(rate), None)

    @rule(seconds=st.floats(0.01, 500))
    def wait(self, seconds: float) -> None:
        self.panel.advance(seconds)

    @rule()
    def stall(self) -> None:
        if self.panel.body.turning:
            self.panel.stall()

    @rule()
    def power(self) -> None:
        self.panel.power_off()
        self.panel.power_on()

    @invariant()
    def never_more_than_the_limit_for_each_fresh_run(self) -> None:
        assert self.panel.body.plunger_ml <= 3.0 * self.runs + 1e-9

    @invariant()
    def the_motor_turns_only_while_the_pump_says_so(self) -> None:
        assert self.panel.body.turning == (self.panel.state in (State.INFUSING, State.WITHDRAWING, State.PURGING))

    @invariant()
    def an_alarm_stands_still(self) -> None:
        assert self.panel.alarm is None or not self.panel.body.turning

    @invariant()
    def attribution_adds_up(self) -> None:
        assert sum(self.panel.motions.by.values()) == pytest.approx(self.panel.body.plunger_ml, abs=1e-9)


TestPanelMachine = PanelMachine.TestCase
TestPanelMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
