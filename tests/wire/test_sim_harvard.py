"""The Harvard wire of the simulator against the published transcripts, and what stands behind the bytes."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from simulator.device import Device
from simulator.families.harvard_invented import Invented
from simulator.families.harvard_text import show_time, show_volume
from simulator.line import Line

ROOT = Path(__file__).parents[2]
GROUPS = json.loads((ROOT / "tests/transcripts/sim_harvard.json").read_text(encoding="utf-8"))["groups"]


def whole(data: bytes) -> Iterable[bytes]:
    return [data]


def single_bytes(data: bytes) -> Iterable[bytes]:
    return [bytes((byte,)) for byte in data]


class Host:
    """A host on a virtual wire."""

    def __init__(self, pieces: Callable[[bytes], Iterable[bytes]] = whole, **options: Any) -> None:
        self.device = Device("harvard", **options)
        self.at = 0.0
        self._pieces = pieces
        self._seen = b""
        self.wait(0)

    def wait(self, seconds: float) -> None:
        end = self.at + seconds
        while (wake := self.device.next_wake(self.at)) is not None and wake <= end:
            self.at = max(wake, self.at)
            self._seen += self.device.outgoing(self.at)
        self.at = end
        self.device.advance(end)

    def read(self) -> bytes:
        data, self._seen = self._seen + self.device.outgoing(self.at), b""
        return data

    def ask(self, data: bytes) -> bytes:
        for piece in self._pieces(data):
            self.device.receive(piece, self.at)
        return self.read()

    def do(self, name: str, **keys: Any) -> None:
        answer = self.device.control({"do": name, **keys})
        assert answer["ok"], answer

    def press(self, key: str) -> None:
        """A key, and the bare CR that opens the line again."""
        self.do("press", key=key)
        self.ask(b"\r")

    @property
    def truth(self) -> dict[str, Any]:
        return self.device.truth()


def polled(**options: Any) -> Host:
    host = Host(**options)
    host.ask(b"poll on\r")
    return host


def invented(**switches: Any) -> dict[str, Any]:
    return {"invented": Invented(**switches)}


def running(*before: bytes, **options: Any) -> Host:
    """Infusing 1 mL/min, poll on."""
    host = polled(**options)
    for command in (b"irate 1 ml/min", *before):
        assert host.ask(command + b"\r") == b"\n:\x11", command
    host.ask(b"\r")
    assert host.ask(b"irun\r") == b"\n>\x11"
    return host


@pytest.mark.parametrize("pieces", [whole, single_bytes])
@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group["name"])
def test_the_pump_answers_as_in_the_transcript(
    group: dict[str, Any], pieces: Callable[[bytes], Iterable[bytes]]
) -> None:
    host = Host(pieces, **group["set"])
    for exchange in group["exchanges"]:
        host.wait(exchange.get("wait_s", 0))
        assert host.ask(exchange["host"].encode()) == exchange["pump"].encode(), exchange


def test_recorded_and_constructed_exchanges_are_kept_apart() -> None:
    marks = [exchange["provenance"] for group in GROUPS for exchange in group["exchanges"]]
    assert set(marks) == {"recorded", "constructed"}
    assert marks.count("recorded") >= 23


def test_every_split_of_a_line_is_the_same_line() -> None:
    line = b"@irate 199.49 ul/min\r\n"
    for cut in range(1, len(line)):
        host = polled()
        host.ask(line[:cut])
        host.wait(30)
        host.ask(line[cut:])
        assert host.ask(b"irate\r") == b"\n199.49 ul/min\r\n:\x11", cut


def test_three_lines_in_one_write_get_three_answers() -> None:
    assert polled().ask(b"\rforce\r\nver\r\n") == b"\n:\x11\n30%\r\n:\x11\nLegato 110 3.0.6\r\n:\x11"


def test_garbage_is_a_command_error_and_an_endless_line_is_thrown_away() -> None:
    host = polled()
    assert host.ask(b"\xff\x80\x00\r") == b"\nCommand error:\r\n   Unknown command\r\n:\x11"
    host.ask(b"x" * 300)
    assert host.ask(b"force\r") == b"\n30%\r\n:\x11"


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"irate\r", b"\n1 ml/min\r\n:"),
        (b"0irate\r", b"\n00:1 ml/min\r\n00:"),
        (b"00irate\r", b"\n00:1 ml/min\r\n00:"),
        (b"0:irate\r", b"\n00:1 ml/min\r\n00:"),
        (b"@0irate\r", b"\n00:1 ml/min\r\n00:"),
        (b"0@irate\r", b"\n00:1 ml/min\r\n00:"),
        (b"0 IRAT\r", b"\n00:1 ml/min\r\n00:"),
        (b"0\r", b"\n00:"),
        (b"0bad\r", b"\n00:Command error:\r\n00:   Unknown command\r\n00:"),
        (b"1irate\r", b""),
        (b"1xyzzy\r", b""),
        (b"1\r", b""),
    ],
)
def test_a_reply_carries_the_address_that_the_request_carried(line: bytes, reply: bytes) -> None:
    assert Host().ask(line) == reply


def test_an_address_other_than_0_is_always_shown() -> None:
    assert Host(address=12).ask(b"irate\r") == b"\n12:1 ml/min\r\n12:"
    assert Host(address=12).ask(b"12:irate\r") == b"\n12:1 ml/min\r\n12:"
    assert Host(address=12).ask(b"0irate\r") == b""
    assert Host(address=12, **invented(answers_without_address=False)).ask(b"irate\r") == b""


def test_on_a_line_each_is_heard_by_its_address() -> None:
    choices = Invented(answers_without_address=False)
    line = Line([Device("harvard", address=address, invented=choices) for address in (0, 7)])
    answers = {b"irate\r": b"\n1 ml/min\r\n:", b"7irate\r": b"\n07:1 ml/min\r\n07:", b"8irate\r": b""}
    for request, reply in answers.items():
        line.receive(request, 0.0)
        assert line.outgoing(0.0) == reply


def test_a_chained_pump_may_keep_silent_on_sets() -> None:
    host = Host(address=3, **invented(chained_sets_are_silent=True))
    assert host.ask(b"3irate 2 ml/min\r") == b""
    assert host.ask(b"3irate\r") == b"\n03:2 ml/min\r\n03:"
    assert host.ask(b"3\r") == b"\n03:"


ANSWERS = [  # command, text lines; the prompt follows
    (b"address", b"Pump address is 0"),
    (b"baud", b"115200 baud"),
    (b"poll", b" ON"),
    (b"nvram", b"ON"),
    (b"echo", b"OFF"),
    (b"dim 40", None),
    (b"dim", b"15%"),
    (b"ver", b"Legato 110 3.0.6"),
    (b"load qs iw", None),
    (b"load", b"Quick Start - Infuse/Withdraw (qs iw)"),
    (b"diam", b"26.5900 mm"),
    (b"svolume 8.6284 ml", None),
    (b"svol", b"60 ml"),
    (b"syrmanu hoshi 20 ml", None),
    (b"ivolume", b"0 ul"),
    (b"wvolume", b"0 ul"),
    (b"tvolume 199.49 ul", None),
    (b"ttime", b"Target time not set"),
    (b"ttime 30", None),
    (b"itime", b"0 seconds"),
    (b"wtime", b"0 seconds"),
    (b"iramp", b"Ramp not set up."),
    (b"wramp", b"Ramp not set up."),
    (b"input", b"Low."),
    (b"ftswitch", b"Momentary"),
    (b"output 1 high", None),
    (b"sync low", None),
    (b"citime", None),
    (b"cwtime", None),
    (b"ctime", None),
    (b"cttime", None),
    (b"civolume", None),
    (b"cwvolume", None),
    (b"cvolume", None),
    (b"ctvolume", None),
    (b"time 05/08/23 14:48:23", b"05/08/23 2:48:23 PM"),
    (b"time 05/08/2023 00:08:03", b"05/08/23 12:08:03 AM"),
    (b"irate 2.0000000000 m/m", None),
    (b"wrate max", None),
    (b"wrate min", None),
    (b"tvolume 60.000000000000000 m", None),
    (b"baud 9600", None),
]


@pytest.mark.parametrize(("command", "text"), ANSWERS, ids=str)
def test_one_command_one_answer(command: bytes, text: bytes | None) -> None:
    assert polled().ask(command + b"\r") == (b"" if text is None else b"\n" + text + b"\r") + b"\n:\x11"


@pytest.mark.parametrize(
    ("command", "question", "text"),
    [
        (b"dim 40", b"dim", b"40%"),
        (b"svolume 8.6284 ml", b"svolume", b"8.6284 ml"),
        (b"syrmanu hoshi 20 ml", b"syrmanu", b"Hoshi, 20 ml, 20.45 mm"),
        (b"syrmanu hos 20 ml", b"syrmanu", b"Hoshi, 20 ml, 20.45 mm"),
        (b"syrmanu bdp 60 ml", b"diameter", b"26.5900 mm"),
        (b"tvolume 199.49 ul", b"tvolume", b"199.49 ul"),
        (b"tvolume 60.000000000000000 m", b"tvolume", b"60 ml"),
        (b"tvolume 0.5 ml", b"tvolume", b"500 ul"),
        (b"ttime 30", b"ttime", b"30 seconds"),
        (b"ttime 180", b"ttime", b"00:03:00"),
        (b"ttime 5400", b"ttime", b"01:30:00"),
        (b"irate 2.0000000000 m/m", b"irate", b"2 ml/min"),
        (b"irate 3.2 u/m", b"irate", b"3.2 ul/min"),
        (b"irate 12.3456789 ml/hr", b"irate", b"12.3457 ml/hr"),
        (b"irate 0.5 ml/min", b"irate", b"500 ul/min"),
        (b"irate 30 ul/sec", b"irate", b"30 ul/sec"),
        (b"wrate max", b"wrate", b"88.2949 ml/min"),
        (b"nvram none", b"nvram", b"NONE"),
        (b"ftswitch rise", b"ftswitch", b"Rising Edge"),
        (b"load qs wi", b"load", b"Quick Start - Withdraw/Infuse (qs wi)"),
    ],
)
def test_what_is_set_is_read_back(command: bytes, question: bytes, text: bytes) -> None:
    host = polled()
    assert host.ask(command + b"\r") == b"\n:\x11"
    assert host.ask(question + b"\r") == b"\n" + text + b"\r\n:\x11"


@pytest.mark.parametrize(
    ("command", "argument"),
    [
        (b"irate 1 ml/fortnight", b"1"),
        (b"irate 100 ml/min", b"100"),  # faster than the pusher
        (b"irate 1 pl/min", b"1"),
        (b"irate 0 ml/min", b"0"),
        (b"irate -1 ml/min", b"-1"),
        (b"irate 1e1 ml/min", b"1e1"),
        (b"irate 5", b"5"),
        (b"irate 1 ml/min extra", b"extra"),
        (b"diameter 99", b"99"),
        (b"diameter x", b"x"),
        (b"force 0", b"0"),
        (b"force 101", b"101"),
        (b"address 100", b"100"),
        (b"baud 1234", b"1234"),
        (b"poll maybe", b"maybe"),
        (b"nvram off", b"off"),
        (b"load zz iw", b"zz"),
        (b"load qs x", b"x"),
        (b"tvolume 0 ml", b"0"),
        (b"tvolume 5", b"5"),
        (b"tvolume 1001 ml", b"1001"),
        (b"ttime 0", b"0"),
        (b"ttime 1:2", b"1:2"),
        (b"syrmanu acme 5 ml", b"acme"),
        (b"time 31/31/23 00:00:00", b"31/31/23"),
        (b"iramp 1 ml/min", b"ml/min"),
        (b"stp now", b"now"),
    ],
)
def test_a_bad_argument_is_named_and_changes_nothing(command: bytes, argument: bytes) -> None:
    host = polled()
    before = host.truth
    reply = host.ask(command + b"\r")
    assert reply.startswith(b"\nArgument error: " + argument + b"\r\n   ")
    assert reply.endswith(b"\r\n:\x11")
    assert host.truth == before


def test_a_missing_argument_is_missing_from_the_line() -> None:
    assert polled().ask(b"sync\r").startswith(b"\nArgument error:\r\n   ")


def test_metrics_are_about_20_lines() -> None:
    lines = polled().ask(b"metrics\r").split(b"\r\n")
    assert lines[0] == b"\nPump type          Legato 110"
    assert len(lines) == 21


def test_the_list_of_syringes() -> None:
    assert b"\nhos   Hoshi\r" in polled().ask(b"syrmanu ?\r")
    assert polled().ask(b"syrmanu hos ?\r") == b"\n20 ml\r\n:\x11"


@pytest.mark.parametrize(
    ("series", "nvram", "ver"),
    [("legato", b"none", b"Legato 110 "), ("elite", b"off", b"11 ELITE I/W Single 3.0.4"), ("ultra", b"off", b"PHD")],
)
def test_a_series_has_its_own_words(series: str, nvram: bytes, ver: bytes) -> None:
    host = polled(series=series)
    lacks = b"off" if nvram == b"none" else b"none"
    assert host.ask(b"nvram %s\r" % nvram) == b"\n:\x11"
    assert host.ask(b"nvram %s\r" % lacks).startswith(b"\nArgument error: " + lacks)
    assert host.ask(b"ver\r").startswith(b"\n" + ver)


def test_echo_brings_the_command_back_first() -> None:
    host = polled()
    host.ask(b"echo on\r")
    assert host.ask(b"force\r\n") == b"force\r\n30%\r\n:\x11"


class TestPoll:
    def test_on_ends_each_reply_with_xon_from_its_own_on(self) -> None:
        host = Host()
        assert host.ask(b"\r") == b"\n:"
        assert host.ask(b"poll on\r") == b"\n:\x11"
        assert host.ask(b"poll off\r") == b"\n:"

    def test_the_blank_before_the_answer_can_be_left_out(self) -> None:
        assert Host(**invented(poll_answer_has_blank=False)).ask(b"poll\r") == b"\nOFF\r\n:"

    def test_off_lets_the_target_slip_in_front_of_the_next_reply(self) -> None:
        host = Host()
        host.ask(b"tvolume 500 ul\r")
        host.ask(b"irun\r")
        host.wait(40)
        assert host.ask(b"ivolume\r") == b"\nT*" + b"\n500 ul\r\nT*"
        host.wait(600)
        assert host.read() == b""

    def test_on_keeps_quiet_when_the_target_is_reached(self) -> None:
        host = running(b"tvolume 500 ul")
        host.wait(40)
        assert host.read() == b""
        assert host.ask(b"\r") == b"\nT*\x11"

    def test_remote_has_no_prompts_no_cr_and_the_address_always(self) -> None:
        host = Host()
        assert host.ask(b"poll remote\r") == b""
        assert host.ask(b"irate\r") == b"\n00:1 ml/min"
        assert host.ask(b"irun\r") == b""
        assert host.ask(b"xyzzy\r") == b"\n00:Command error:\n00:   Unknown command"
        assert host.ask(b"poll\r") == b"\n00: REMOTE"
        host.do("stall")
        assert host.read() == b""

    def test_off_tells_a_stall_and_the_keypad(self) -> None:
        host = Host()
        host.do("press", key="run")
        assert host.read() == b"\n>"
        host.do("press", key="stop")
        assert host.read() == b"\n:"
        host.do("press", key="run")
        host.read()
        host.do("stall")
        assert host.read() == b"\n*"

    def test_the_keypad_may_go_untold(self) -> None:
        host = Host(**invented(keypad_is_announced=False))
        host.do("press", key="run")
        assert host.read() == b""


class TestTargets:
    @pytest.mark.parametrize("speed", [1.0, 60.0])
    def test_the_target_volume_is_met_exactly(self, speed: float) -> None:
        host = running(b"tvolume 2 ml", speed=speed)
        host.wait(600)
        assert host.ask(b"ivolume\r") == b"\n2 ml\r\nT*\x11"
        assert host.truth["plunger_ml"] == pytest.approx(2.0, abs=1e-9)
        assert host.truth["infused_ml"] == 2.0
        assert host.truth["alarm"] == "target"

    @pytest.mark.parametrize("target", [b"0.3", b"0.7", b"1.1"])
    def test_it_is_met_exactly_however_often_somebody_asks(self, target: bytes) -> None:
        host = running(b"tvolume %s ml" % target)
        for step in range(1, 1000):
            host.wait(0.07)
            host.ask(b"ivolume\r" if step % 7 else b"irate 1.%d ml/min\r" % step)
        assert host.truth["infused_ml"] == float(target)
        assert host.truth["plunger_ml"] == pytest.approx(float(target), abs=1e-9)
        assert host.ask(b"irun\r") == b"\nT*\x11"

    def test_the_target_time_is_met_exactly(self) -> None:
        host = running(b"ttime 00:01:30")
        host.wait(89.9)
        assert host.ask(b"\r") == b"\n>\x11"
        host.wait(0.2)
        assert host.ask(b"itime\r") == b"\n00:01:30\r\nT*\x11"
        assert host.truth["plunger_ml"] == pytest.approx(1.5, abs=1e-6)

    def test_the_earlier_of_both_ends_the_run(self) -> None:
        host = running(b"tvolume 2 ml", b"ttime 60")
        assert host.truth["motion"]["limit_ml"] == pytest.approx(1.0)
        host.wait(200)
        assert host.truth["infused_ml"] == pytest.approx(1.0, abs=1e-6)

    def test_one_may_take_the_other_away(self) -> None:
        host = polled(**invented(one_target_only=True))
        host.ask(b"tvolume 2 ml\r")
        host.ask(b"ttime 60\r")
        assert host.ask(b"tvolume\r") == b"\nTarget volume not set\r\n:\x11"
        host.ask(b"tvolume 2 ml\r")
        assert host.ask(b"ttime\r") == b"\nTarget time not set\r\n:\x11"

    def test_it_counts_what_was_infused_since_the_counter_was_cleared(self) -> None:
        host = running(b"tvolume 2 ml")
        host.wait(60)
        host.ask(b"stp\r")
        host.ask(b"irun\r")
        host.wait(600)
        assert host.truth["plunger_ml"] == pytest.approx(2.0)

    def test_clearing_the_counter_while_it_runs_gives_the_whole_target_again(self) -> None:
        host = running(b"tvolume 2 ml")
        host.wait(60)
        assert host.ask(b"civolume\r") == b"\n>\x11"
        host.wait(600)
        assert host.truth["plunger_ml"] == pytest.approx(3.0)

    def test_clearing_while_it_runs_may_be_refused(self) -> None:
        assert running(**invented(clear_while_running=False)).ask(b"cvolume\r").startswith(b"\nCommand error:\r")

    def test_a_target_set_while_it_runs_is_refused_or_held_to(self) -> None:
        assert running().ask(b"tvolume 2 ml\r").startswith(b"\nCommand error:\r")
        host = running(**invented(target_while_running=True))
        host.wait(60)
        assert host.ask(b"tvolume 2 ml\r") == b"\n>\x11"
        host.wait(600)
        assert host.truth["infused_ml"] == 2.0
        host = running(**invented(target_while_running=True))
        host.wait(60)
        assert host.ask(b"tvolume 500 ul\r") == b"\nT*\x11"

    @pytest.mark.parametrize(
        ("choice", "reply", "given_ml"),
        [("T*", b"\nT*\x11", 1.0), ("error", b"\nCommand error:\r", 1.0), ("again", b"\n>\x11", 2.0)],
    )
    def test_a_run_past_the_target(self, choice: str, reply: bytes, given_ml: float) -> None:
        host = running(b"tvolume 1 ml", **invented(run_past_target=choice))
        host.wait(100)
        assert host.ask(b"stp\r") == b"\n:\x11"
        assert host.ask(b"irun\r").startswith(reply)
        host.wait(100)
        assert host.truth["plunger_ml"] == pytest.approx(given_ml)

    def test_after_civolume_it_runs_again(self) -> None:
        host = running(b"tvolume 1 ml")
        host.wait(100)
        host.ask(b"civolume\r")
        assert host.ask(b"irun\r") == b"\n>\x11"


class TestRunning:
    def test_without_a_host_it_runs_on(self) -> None:
        host = running()
        host.wait(1800)
        assert host.truth["infused_ml"] == pytest.approx(30.0)
        assert host.read() == b""

    def test_a_rate_changed_while_it_runs_counts_at_once(self) -> None:
        host = running()
        host.wait(60)
        assert host.ask(b"@irate 2 ml/min\r") == b"\n>\x11"
        assert host.ask(b"crate\r") == b"\nInfusing at 2 ml/min\r\n>\x11"
        host.wait(60)
        assert host.ask(b"ivolume\r") == b"\n3 ml\r\n>\x11"

    def test_a_rate_while_it_runs_may_be_refused(self) -> None:
        host = running(**invented(rate_while_running_is_refused=True))
        assert host.ask(b"irate 2 ml/min\r").startswith(b"\nCommand error:\r")

    def test_a_refused_rate_leaves_the_old_one(self) -> None:
        host = running()
        assert host.ask(b"irate 500 ml/min\r").startswith(b"\nArgument error: 500\r")
        assert host.truth["rate_ml_h"] == pytest.approx(60.0)

    def test_a_run_right_after_a_rate_answers_idle_once(self) -> None:
        host = polled()
        host.ask(b"irate 2 ml/min\r")
        assert host.ask(b"irun\r") == b"\n:\x11"
        assert host.ask(b"\r") == b"\n>\x11"
        host = polled(**invented(run_after_rate_shows_idle=False))
        host.ask(b"irate 2 ml/min\r")
        assert host.ask(b"irun\r") == b"\n>\x11"

    def test_run_while_it_runs(self) -> None:
        assert running().ask(b"irun\r").startswith(b"\nCommand error:\r")
        host = running(**invented(run_while_running_is_refused=False))
        assert host.ask(b"irun\r") == b"\n>\x11"
        assert host.ask(b"wrun\r") == b"\n<\x11"

    def test_withdrawing_has_its_own_rate_counter_and_prompt(self) -> None:
        host = polled()
        host.ask(b"wrate 3 ml/min\r\n")
        host.ask(b"\r")
        assert host.ask(b"wrun\r") == b"\n<\x11"
        assert host.ask(b"crate\r") == b"\nWithdrawing at 3 ml/min\r\n<\x11"
        host.wait(20)
        assert host.ask(b"wvolume\r") == b"\n1 ml\r\n<\x11"
        assert host.ask(b"ivolume\r") == b"\n0 ul\r\n<\x11"
        assert host.truth["plunger_ml"] == pytest.approx(-1.0)
        host.ask(b"stp\r")
        assert host.ask(b"rrun\r") == b"\n>\x11"

    def test_crate_is_for_a_running_pump(self) -> None:
        assert polled().ask(b"crate\r").startswith(b"\nCommand error:\r")

    def test_a_ramp_gives_its_mean_and_ends_at_the_target_prompt(self) -> None:
        host = polled()
        host.ask(b"iramp 1 ml/min 3 ml/min 60\r")
        assert host.ask(b"irun\r") == b"\n>\x11"
        host.wait(30)
        assert host.truth["infused_ml"] == pytest.approx(0.75, abs=1e-3)
        host.wait(31)
        assert host.ask(b"\r") == b"\nT*\x11"
        assert host.truth["infused_ml"] == pytest.approx(2.0, abs=1e-6)
        host.ask(b"cttime\r")
        assert host.ask(b"iramp\r") == b"\nRamp not set up.\r\nT*\x11"

    def test_a_diameter_takes_the_rate_away(self) -> None:
        host = polled()
        host.ask(b"diameter 14.43\r")
        assert host.ask(b"irate\r") == b"\n0 ul/min\r\n:\x11"
        assert host.ask(b"irun\r").startswith(b"\nCommand error:\r")
        host = polled(**invented(diameter_clears_rates=False))
        host.ask(b"diameter 14.43\r")
        assert host.ask(b"irate\r") == b"\n1 ml/min\r\n:\x11"

    @pytest.mark.parametrize("command", [b"diameter 20", b"syrmanu hoshi 20 ml", b"load qs iw", b"iramp 1 u/m 2 u/m 3"])
    def test_what_wants_a_standing_pump(self, command: bytes) -> None:
        assert running().ask(command + b"\r").startswith(b"\nCommand error:\r")

    def test_the_set_diameter_decides_what_the_true_syringe_gives(self) -> None:
        host = running(b"tvolume 1 ml", true_diameter_mm=2 * 26.59)
        host.wait(100)
        assert host.truth["plunger_ml"] == pytest.approx(4.0)


class TestStall:
    def test_an_occluded_line_stalls_the_motor(self) -> None:
        host = running()
        host.do("occlude")
        host.wait(200)
        assert host.ask(b"\r") == b"\n*\x11"
        assert host.truth["alarm"] == "stall"
        assert not host.truth["infusing"]

    def test_an_empty_syringe_is_a_stall_too(self) -> None:
        host = running(fill_ml=1)
        host.wait(100)
        assert host.ask(b"\r") == b"\n*\x11"
        assert host.truth["plunger_ml"] == pytest.approx(1.0)

    def test_stop_does_not_clear_it_the_display_and_the_next_run_do(self) -> None:
        host = running()
        host.do("stall")
        assert host.ask(b"stp\r") == b"\n*\x11"
        host.press("display")
        assert host.ask(b"\r") == b"\n:\x11"
        host.ask(b"irun\r")
        host.do("stall")
        assert host.ask(b"irun\r") == b"\n>\x11"

    def test_stop_may_clear_it(self) -> None:
        host = running(**invented(stop_clears_stall=True))
        host.do("stall")
        assert host.ask(b"stp\r") == b"\n:\x11"

    @pytest.mark.parametrize(
        ("way", "run", "prompt"), [("infuse", b"irun", b"\n>*\x11"), ("withdraw", b"wrun", b"\n<*\x11")]
    )
    def test_a_limit_switch_stops_its_way_and_not_the_other(self, way: str, run: bytes, prompt: bytes) -> None:
        host = polled()
        host.ask(run + b"\r")
        host.do("limit_switch", way=way)
        assert host.ask(b"\r") == prompt
        assert host.truth["alarm"] == "limit switch"
        assert host.ask(run + b"\r").startswith(b"\nCommand error:\r")
        assert host.ask(b"rrun\r")[-2:] in (b"<\x11", b">\x11")
        host.ask(b"stp\r")
        host.do("limit_switch", way="none")
        assert host.ask(run + b"\r")[-1:] == b"\x11"


class TestStatus:
    def test_the_computed_example(self) -> None:
        host = polled()
        host.ask(b"irate 2 ml/min\r")
        host.ask(b"irun\r")
        host.wait(3)
        assert host.ask(b"status\r") == b"\n33333333333 3000 100000000000 I...I.\r\n>\x11"

    def test_each_flag(self) -> None:
        host = polled()
        assert host.ask(b"status\r") == b"\n16666666666 0 0 i...i.\r\n:\x11"
        host.ask(b"wrun\r")
        host.do("foot", state="down")
        assert host.ask(b"status\r").split()[3] == b"W..TW."
        host.do("limit_switch", way="withdraw")
        assert host.ask(b"status\r").split()[3] == b"ww.Tw."
        host.do("limit_switch", way="infuse")
        assert host.ask(b"status\r").split()[3] == b"wi.Tw."
        host.do("foot", state="up")
        host.do("limit_switch", way="none")
        host.ask(b"irun\r")
        host.do("stall")
        assert host.ask(b"status\r").split()[3] == b"i.S.i."
        host.ask(b"ttime 1\r")
        host.ask(b"irun\r")
        host.wait(2)
        assert host.ask(b"status\r").split()[3] == b"i...iT"

    @pytest.mark.parametrize(("lacks", "flags"), [("target", b"i...i"), ("port", b"i...T")])
    def test_the_first_ultra_has_seconds_and_five_flags(self, lacks: str, flags: bytes) -> None:
        host = polled(series="ultra", **invented(old_status_lacks=lacks))
        host.ask(b"ttime 90\r")
        host.ask(b"irun\r")
        host.wait(100)
        assert host.ask(b"status\r").split()[1] == b"90"
        assert host.ask(b"status\r").split()[3] == flags

    def test_a_standing_pump_may_tell_rate_0(self) -> None:
        assert polled(**invented(status_shows_set_rate=False)).ask(b"status\r").startswith(b"\n0 0 0 ")


class TestKeypad:
    def test_a_touch_closes_the_line_until_a_bare_cr(self) -> None:
        host = running()
        host.do("press", key="menu")
        assert host.ask(b"stp\r") == b""
        assert host.truth["infusing"]
        assert host.truth["line_closed"]
        assert host.ask(b"\r") == b"\n>\x11"
        assert host.ask(b"stp\r") == b"\n:\x11"

    def test_a_touch_may_leave_it_open(self) -> None:
        host = running(**invented(touch_closes_line=False))
        host.do("press", key="menu")
        assert host.ask(b"stp\r") == b"\n:\x11"

    @pytest.mark.parametrize("command", [b"irate 2 ml/min", b"irate", b"tvolume 1 ml", b"ttime", b"diameter"])
    def test_another_screen_and_a_method_refuse_parameters_until_load(self, command: bytes) -> None:
        for key in ("menu", "method"):
            host = polled()
            host.press(key)
            assert host.ask(command + b"\r").startswith(b"\nCommand error:\r")
            host.ask(b"load qs iw\r")
            assert not host.ask(command + b"\r").startswith(b"\nCommand error:\r")

    def test_home_leads_back(self) -> None:
        host = polled()
        host.press("menu")
        host.press("home")
        assert host.ask(b"irate\r") == b"\n1 ml/min\r\n:\x11"

    def test_a_mode_without_a_way_refuses_it(self) -> None:
        host = polled()
        host.ask(b"load qs i\r")
        assert host.ask(b"wrun\r").startswith(b"\nCommand error:\r")
        assert host.ask(b"wrate 1 ml/min\r").startswith(b"\nCommand error:\r")
        host.press("method")
        assert host.ask(b"irun\r").startswith(b"\nCommand error:\r")

    def test_the_rate_dialled_by_hand_is_the_keypads(self) -> None:
        host = running()
        host.do("set_rate", ml_h=90)
        host.ask(b"\r")
        assert host.ask(b"irate\r") == b"\n1.5 ml/min\r\n>\x11"
        assert host.truth["motion"]["by"] == "keypad"
        host.press("rate_up")
        assert host.truth["rate_ml_h"] == pytest.approx(99)
        host.press("rate_down")
        assert host.truth["rate_ml_h"] == pytest.approx(89.1)

    def test_reverse_and_clear(self) -> None:
        host = running()
        host.wait(30)
        host.press("stop")
        host.press("reverse")
        host.press("clear")
        assert host.ask(b"ivolume\r") == b"\n0 ul\r\n:\x11"
        assert host.ask(b"run\r") == b"\n<\x11"

    def test_a_key_that_does_nothing_is_refused(self) -> None:
        assert not polled().device.control({"do": "press", "key": "stop"})["ok"]

    @pytest.mark.parametrize(
        ("kind", "prompts"), [(b"mom", b">:>:"), (b"rise", b">>::"), (b"fall", b":>>:")], ids=["mom", "rise", "fall"]
    )
    def test_a_foot_switch(self, kind: bytes, prompts: bytes) -> None:
        host = polled()
        host.ask(b"ftswitch %s\r" % kind)
        seen = b""
        for state in ("down", "up", "down", "up"):
            host.do("foot", state=state)
            seen += host.ask(b"\r")[1:2]
            assert host.ask(b"input\r").startswith(b"\nHigh." if state == "down" else b"\nLow.")
        assert seen == prompts
        assert host.truth["motion"]["started_by"] == "foot switch"

    def test_a_pump_that_runs_away_says_so(self) -> None:
        host = polled()
        host.do("run_away", ml_h=120)
        assert host.ask(b"crate\r") == b"\nInfusing at 120 ml/hr\r\n>\x11"
        assert host.truth["motion"]["by"] == "device fault"


class TestPowerCut:
    def test_it_stands_with_the_rates_that_its_memory_has_and_no_target(self) -> None:
        host = running(b"tvolume 9 ml", b"nvram none")
        host.ask(b"irate 2 ml/min\r")
        host.wait(30)
        host.do("reboot")
        assert host.ask(b"\r") == b"\n:"  # poll is off again
        assert host.ask(b"irate\r") == b"\n1 ml/min\r\n:"
        assert host.ask(b"tvolume\r") == b"\nTarget volume not set\r\n:"
        assert host.ask(b"ivolume\r") == b"\n0 ul\r\n:"
        assert not host.truth["infusing"]

    def test_a_rate_that_was_written_to_memory_is_there_again(self) -> None:
        host = running()
        host.ask(b"irate 2 ml/min\r")
        host.do("reboot")
        assert host.ask(b"irate\r") == b"\n2 ml/min\r\n:"

    def test_more_may_survive(self) -> None:
        switches = invented(
            targets_survive_power_cut=True, counters_survive_power_cut=True, poll_survives_power_cut=True
        )
        host = running(b"tvolume 9 ml", **switches)
        host.wait(60)
        host.do("power_off", for_s=5)
        assert host.ask(b"\r") == b""
        host.wait(6)
        assert host.ask(b"tvolume\r") == b"\n9 ml\r\n:\x11"
        assert host.ask(b"ivolume\r") == b"\n1 ml\r\n:\x11"


@pytest.mark.parametrize(
    ("ml", "shown"),
    [
        (0.0, "0 ul"),
        (9.61893, "9.61893 ml"),
        (0.368605, "368.605 ul"),
        (0.00169023, "1.69023 ul"),
        (25.0404e-6, "25.0404 nl"),
        (2.5e-8, "25 pl"),
        (0.9999999, "1 ml"),
        (0.99999949, "999.999 ul"),
        (1.0, "1 ml"),
        (1e-3, "1 ul"),
        (1e-6, "1 nl"),
        (1234.5678, "1234.57 ml"),
    ],
)
def test_volumes_have_six_digits_and_scale_by_themselves(ml: float, shown: str) -> None:
    assert show_volume(ml) == shown


def test_values_may_keep_their_unit() -> None:
    host = polled(**invented(values_rescale=False))
    host.ask(b"irate 0.5 ml/min\r")
    assert host.ask(b"irate\r") == b"\n0.5 ml/min\r\n:\x11"


@pytest.mark.parametrize(("seconds", "shown"), [(30, "30 seconds"), (59.5, "59.5 seconds"), (60, "00:01:00")])
def test_times_below_a_minute_are_seconds(seconds: float, shown: str) -> None:
    assert show_time(seconds) == shown


@pytest.mark.parametrize(
    "switches", [{"run_past_target": "?"}, {"old_status_lacks": "?"}, {"most_target_ml": 2000.0}], ids=str
)
def test_a_switch_that_makes_no_sense_is_refused(switches: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Invented(**switches)
