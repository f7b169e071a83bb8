"""What holds where a driver says nothing of a question or its line, and the words of its errors."""

from __future__ import annotations

from unittest.mock import create_autospec

from pumpd.driver import Ask, BadSetting, Differs, Line, Probe, Pump, Repeat


def test_a_question_is_asked_twice_where_it_may_be_repeated() -> None:
    ask = Ask(b"VER\r", 0.3)
    assert (ask.repeat, ask.tries, ask.accept) == (Repeat.SAFE, 2, None)


def test_a_line_has_eight_bits_no_parity_and_one_stop_bit() -> None:
    assert Line(19200) == Line(19200, bytesize=8, parity="N", stopbits=1)


def test_a_difference_says_what_was_wanted_and_what_the_pump_says() -> None:
    error = Differs("rate", "46.6 mL/h", "64.6 mL/h")
    assert str(error) == "rate: wanted 46.6 mL/h, pump says 64.6 mL/h"
    assert (error.name, error.wanted, error.got) == ("rate", "46.6 mL/h", "64.6 mL/h")


def test_a_bad_setting_says_which_one_and_what_is_wrong_with_it() -> None:
    error = BadSetting("address", "must be 0 to 99, is 100")
    assert str(error) == "address: must be 0 to 99, is 100"
    assert (error.key, error.problem) == ("address", "must be 0 to 99, is 100")


def test_a_probe_asks_who_is_there_hands_off() -> None:
    pump = create_autospec(Pump, instance=True)
    asked = Probe(10, "none").question(pump)
    assert asked is pump.connect.return_value
    pump.connect.assert_called_once_with(hands_off=True)
