"""The Alaris wire of the simulator against the published frames, and what a real pump does besides answering."""

import binascii
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from simulator.device import Device
from simulator.families.alaris import MAX_FRAME, checksum, clock, framed
from simulator.families.alaris_invented import CHOICES, Invented
from simulator.families.alaris_panel import CODES, UNEXPLAINED
from simulator.troubles import Trouble
from tests.wire.test_sim_newera import Host, single_bytes, whole

VECTORS = json.loads((Path(__file__).parents[1] / "transcripts" / "sim_alaris.json").read_text(encoding="ascii"))
EXCHANGES = [pytest.param(vector, id=vector["note"]) for group in list(VECTORS)[1:] for vector in VECTORS[group]]
CODE = "3CC1"
FAST = 60.0  # simulated seconds a wire second: an infusion passes while the watchdog is content


class Bed(Host):
    """A host that speaks in bodies."""

    def __init__(self, pieces: Callable[[bytes], Iterable[bytes]] = whole, speed: float = 1.0, **options: Any) -> None:
        how = {name: options.pop(name) for name in list(options) if name in Invented.__dataclass_fields__}
        super().__init__(Device("alaris", speed=speed, invented=Invented(**how), **options), pieces)

    def say(self, body: str) -> str | None:
        reply = self.ask(framed(body)).decode("ascii")
        if not reply:
            return None
        assert (reply[0], reply[-6], reply[-1]) == ("!", "|", "\r")
        assert checksum(reply[1:-6].encode("ascii")) == reply[-5:-1]
        return reply[1:-6]

    def status(self) -> list[str]:
        return (self.say("INF") or "").split("^")[1:]

    def alarm(self) -> str:
        return (self.say("ALARM") or "").split("^")[1]

    def do(self, do: str, **keys: Any) -> None:
        assert self.device.control({"do": do, **keys}) == {"ok": True}

    def truth(self) -> dict[str, Any]:
        return self.device.truth()

    def renew(self, seconds: float, every: float = 5.0) -> None:
        while seconds > 0:
            self.wait(min(every, seconds))
            self.control()
            seconds -= every

    def control(self) -> None:
        assert self.say(f"REMOTE_CTRL^ENABLED^{CODE}") == "REMOTE_CTRL^ENABLED^****^PERMIT^0^ms"


def controlled(**options: Any) -> Bed:
    bed = Bed(**options)
    bed.control()
    return bed


def running(rate: str = "60.00", **options: Any) -> Bed:
    bed = controlled(**options)
    bed.say(f"INF_RATE^{rate}^ml/h")
    bed.say("INF_START")
    assert bed.truth()["state"] == "running"
    return bed


def running_as_captured(pieces: Any) -> Bed:
    bed = controlled(pieces=pieces, speed=FAST, fill_ml=1000, resting_mmhg=17.91, log_id=127901)
    bed.say("INF_RATE^27.00^ml/h")
    bed.say("INF_START")
    bed.wait(0.113 / 27 * 3600 / FAST)
    return bed


def occluded_as_captured(pieces: Any) -> Bed:
    left_s = 4 * 60 + 9.5
    bed = Bed(
        pieces,
        FAST,
        serial="8002-51733",
        occlusion_mmhg=530.15,
        fill_ml=0.969 + 27 * left_s / 3600,
        log_id=214720,
        near_empty_ml=0.5,
    )
    bed.say("REMOTE_CTRL^ENABLED^9535")
    bed.say("INF_RATE^27.00^ml/h")
    bed.say("INF_START")
    stored_ml = 1.2e-3 * (530.15 + 50)
    bed.wait((0.969 - stored_ml) / 27 * 3600 / FAST)
    bed.do("occlude")
    bed.wait(3)
    return bed


def occluded(pieces: Any) -> Bed:
    bed = running(pieces=pieces)
    bed.do("alarm", name="occlusion")
    return bed


SITUATIONS: dict[str, Callable[[Any], Bed]] = {
    "status, running": running_as_captured,
    "status, real occlusion on another pump": occluded_as_captured,
    "alarm, occlusion": occluded,
    "stop": lambda pieces: running(pieces=pieces),
    "start": lambda pieces: running(pieces=pieces),
}


@pytest.mark.parametrize("pieces", [whole, single_bytes])
@pytest.mark.parametrize("vector", EXCHANGES)
def test_the_pump_answers_as_in_the_transcript(
    vector: dict[str, str], pieces: Callable[[bytes], Iterable[bytes]]
) -> None:
    bed = SITUATIONS.get(vector["note"], lambda pieces: controlled(pieces=pieces))(pieces)
    assert bed.ask(vector["host"].encode("ascii")) == vector["pump"].encode("ascii")


def test_where_the_vectors_come_from_is_kept_apart() -> None:
    assert [len(VECTORS[group]) for group in ("truth", "published", "regression")] == [4, 10, 6]
    assert {vector["provenance"].split()[0] for vector in VECTORS["truth"]} == {"logged", "reply"}


def test_the_checksum_is_ccitt_false() -> None:
    assert checksum(b"123456789") == "29B1"
    assert binascii.crc_hqx(b"123456789", 0xFFFF) == 0x29B1
    assert framed("INF") == bytes.fromhex("21 49 4e 46 7c 34 39 36 31 0d")


@pytest.mark.parametrize(
    "frame",
    [  # section 11, extra requests
        "!INF_RATE|8E6D",
        "!INF_VI|B42C",
        "!REMOTE_CFG^ENABLED^3CC1|EE4F",
        "!REMOTE_CFG^DISABLED|F4B1",
        "!INF_BOLUS^ENABLED|E288",
        "!INF_RATE^3.50^ml/h|3885",
    ],
)
def test_requests_with_unknown_answers_are_well_formed(frame: str) -> None:
    assert framed(frame[1:-5]) == f"{frame}\r".encode("ascii")


@pytest.mark.parametrize(("serial", "code"), [("8002-51740", "3CC1"), ("8002-51733", "9535")])
def test_the_security_code_is_the_checksum_of_the_serial_number(serial: str, code: str) -> None:
    bed = Bed(serial=serial, refused_control="no_permit")
    assert bed.say(f"REMOTE_CTRL^ENABLED^{code}") == "REMOTE_CTRL^ENABLED^****^PERMIT^0^ms"
    assert bed.say("REMOTE_CTRL^ENABLED^0000") == "REMOTE_CTRL^ENABLED^****^^0^ms"


def test_the_shortest_real_reply_has_75_bytes() -> None:
    bed = running("0.10", resting_mmhg=17.91)
    assert bed.say("INF_VI_CLEAR") == "INF_VI_CLEAR"
    assert len(bed.ask(framed("INF"))) == 75


# -- frames


def test_every_split_of_a_frame_is_the_same_frame() -> None:
    frame = framed("ALARM")
    for cut in range(1, len(frame)):
        bed = Bed()
        bed.write(frame[:cut])
        bed.wait(30)
        assert bed.ask(frame[cut:]) == framed("ALARM^AL_NOALM^ ^ "), cut


@pytest.mark.shows("H58")
@pytest.mark.parametrize("bit", range(8))
def test_no_damaged_frame_is_obeyed(bit: int) -> None:
    bed = controlled()
    bed.say("INF_RATE^27.00^ml/h")
    frame = framed("INF_START")
    for position in range(len(frame)):
        damaged = bytearray(frame)
        damaged[position] ^= 1 << bit
        assert bed.ask(bytes(damaged)) == b""
        assert bed.ask(b"\x1b") == b""
    assert bed.truth()["state"] == "held"


def test_garbage_between_frames_does_not_matter() -> None:
    bed = Bed()
    frame, answer = framed("ALARM"), framed("ALARM^AL_NOALM^ ^ ")
    assert bed.ask(b"\xff\x00\r\n" + frame + b"\n" + frame) == answer + answer
    assert bed.ask(b"xx" + frame) == answer


def test_half_a_frame_costs_the_next_one() -> None:
    bed = Bed()
    bed.write(b"!INF_ST")
    assert bed.say("ALARM") is None
    assert bed.say("ALARM") is not None
    patient = Bed(bang_restarts=True)
    patient.write(b"!INF_ST")
    assert patient.say("ALARM") is not None


def test_escape_discards_what_was_received() -> None:
    bed = Bed()
    bed.write(b"!INF_ST\x1b")
    assert bed.say("ALARM") is not None
    assert bed.ask(b"!AL\x1bARM|50B2\r") == b""
    assert bed.ask(b"!INF_ST\x1b" + framed("ALARM")) == framed("ALARM^AL_NOALM^ ^ ")
    assert bed.ask(framed("ALARM")[:-1] + b"\x1b") == b""
    assert bed.ask(framed("ALARM") + b"!INF\x1b" + framed("ALARM")) == framed("ALARM^AL_NOALM^ ^ ") * 2


def test_noise_without_an_end_is_thrown_away() -> None:
    bed = Bed()
    bed.write(b"!" + b"x" * (MAX_FRAME + 1))
    assert bed.say("ALARM") is not None


@pytest.mark.parametrize(
    "body", ["", "INFO", "inf", "INF_PURGE_RATE^1.356^ml/h", "DRUG_LIB^1", "INF_RATE^27.00^ml/min"]
)
def test_what_it_does_not_know_gets_no_answer(body: str) -> None:
    assert controlled().say(body) is None


@pytest.mark.parametrize("body", ["INF_VI", "INF_RATE", f"REMOTE_CFG^ENABLED^{CODE}", "INF_BOLUS^ENABLED"])
def test_answers_that_nobody_has_published_are_a_choice(body: str) -> None:
    assert Bed().say(body) is None
    reply = Bed(unpublished_replies="inferred").say(body)
    assert reply is not None
    assert reply.startswith(body.split("^")[0])


def test_an_answer_may_be_lost_while_the_order_is_obeyed() -> None:
    bed = Bed(unanswered_every=3)
    bed.control()
    bed.say("INF_RATE^27.00^ml/h")
    assert bed.say("INF_START") is None
    assert bed.truth()["state"] == "running"


# -- remote control


def test_without_control_nothing_is_obeyed_however_it_answers() -> None:
    for refused, answer in (("echo", "INF_START"), ("silent", None)):
        bed = running(refused_order=refused, timeout_while_held=False)
        bed.say("REMOTE_CTRL^DISABLED")
        bed.say("INF_STOP")
        bed.say("INF_RATE^10.00^ml/h")
        bed.say("INF_VTBI^ACTIV^1.000^ml^STOP")
        bed.wait(1)
        bed.say("INF_VI_CLEAR")
        truth = bed.truth()
        assert (truth["state"], truth["rate_ml_h"], truth["limit_ml"]) == ("running", 60.0, 0.0)
        assert truth["infused_ml"] > 0
        assert bed.say("INF_START") == answer
        assert truth["refused"] == "no remote control"


@pytest.mark.parametrize("options", [{"remote": "off"}, {"serial": "8002-11111"}])
def test_control_may_be_refused(options: dict[str, Any]) -> None:
    assert Bed(**options).say(f"REMOTE_CTRL^ENABLED^{CODE}") is None
    bed = Bed(**options, refused_control="no_permit")
    assert bed.say(f"REMOTE_CTRL^ENABLED^{CODE}") == "REMOTE_CTRL^ENABLED^****^^0^ms"
    assert bed.status()[2] == "HLD"
    assert bed.truth()["remote"] is False


def test_release_may_be_a_bare_echo() -> None:
    assert controlled(release_reply="echo").say("REMOTE_CTRL^DISABLED") == "REMOTE_CTRL^DISABLED"


# -- watchdog


@pytest.mark.parametrize("speed", [1.0, 600.0])
def test_what_the_host_started_stops_after_15_wire_seconds(speed: float) -> None:
    bed = running("1.00", speed=speed, call_back_s=0.0)
    started_at = bed.at
    bed.wait(started_at + 14.999 - bed.at)
    assert bed.truth()["state"] == "running"
    bed.wait(0.002)
    assert bed.truth()["state"] == "held"
    assert bed.status()[1:4] == ["A", "HLD", "0.00"]
    assert bed.alarm() == "AL_COMTO"
    assert bed.truth()["plunger_ml"] == pytest.approx(speed * 15 / 3600, rel=1e-3)


def test_it_infuses_on_while_control_is_renewed() -> None:
    bed = running()
    bed.renew(120, every=14.9)
    assert (bed.truth()["state"], bed.alarm()) == ("running", "AL_NOALM")


def test_polling_alone_feeds_the_watchdog_or_not() -> None:
    for fed_by, state in (("remote_ctrl", "held"), ("any", "running")):
        bed = running(watchdog_fed_by=fed_by)
        for _ in range(20):
            bed.wait(1)
            bed.status()
        assert bed.truth()["state"] == state
    bed = running(watchdog_fed_by="any")
    for _ in range(20):
        bed.wait(1)
        bed.write(framed("INF")[:-2] + b"0\r")  # a damaged frame is no communication
    assert bed.truth()["state"] == "held"


def test_to_start_feeds_the_watchdog() -> None:
    bed = controlled()
    bed.say("INF_RATE^27.00^ml/h")
    bed.wait(14)
    bed.say("INF_START")
    bed.wait(14.9)
    assert bed.truth()["state"] == "running"
    bed.wait(0.2)
    assert bed.truth()["state"] == "held"


def test_who_gives_control_back_while_it_infuses_is_a_silent_host() -> None:
    bed = running()
    bed.wait(10)
    bed.say("REMOTE_CTRL^DISABLED")
    bed.wait(14.9)
    assert bed.truth()["state"] == "running"
    bed.wait(0.2)
    assert (bed.truth()["state"], bed.alarm()) == ("held", "AL_COMTO")


def test_a_pulled_cable_is_a_silent_host() -> None:
    bed = running()
    bed.do("disconnect")
    bed.wait(15.1)
    assert (bed.truth()["state"], bed.truth()["alarm"]) == ("held", "AL_COMTO")


def test_what_a_person_started_runs_on_without_the_host() -> None:
    bed = controlled()
    bed.do("set_rate", ml_h=60)
    bed.do("press", key="run")
    bed.wait(60)
    assert bed.truth()["state"] == "running"
    assert bed.truth()["infused_ml"] == pytest.approx(1.0, abs=1e-3)
    assert bed.alarm() == "AL_COMTO"  # control was never given back
    quiet = Bed()
    quiet.do("set_rate", ml_h=60)
    quiet.do("press", key="run")
    quiet.wait(60)
    assert quiet.alarm() == "AL_NOALM"


def test_control_that_is_not_given_back_ends_in_an_alarm() -> None:
    bed = controlled()
    bed.wait(15)
    assert bed.alarm() == "AL_COMTO"
    assert bed.truth()["remote"] is False
    polite = controlled()
    polite.say("REMOTE_CTRL^DISABLED")
    polite.wait(60)
    assert polite.alarm() == "AL_NOALM"
    lenient = controlled(timeout_while_held=False)
    lenient.wait(60)
    assert (lenient.alarm(), lenient.truth()["remote"]) == ("AL_NOALM", False)


def test_the_host_may_not_start_again_before_somebody_acknowledged() -> None:
    bed = running()
    bed.wait(16)
    bed.control()
    assert bed.say("INF_START") == "INF_START"
    assert bed.truth()["state"] == "held"
    bed.do("press", key="mute")
    assert bed.alarm() == "AL_NOALM"
    bed.say("INF_START")
    assert bed.truth()["state"] == "running"
    forgiving = running(start_clears_alarms=True)
    forgiving.wait(16)
    forgiving.control()
    forgiving.say("INF_START")
    assert (forgiving.truth()["state"], forgiving.alarm()) == ("running", "AL_NOALM")


# -- orders


def test_a_session_as_a_commercial_controller_has_it() -> None:
    bed = controlled(speed=FAST, refused_order="silent")
    for body in ("INF_VI_CLEAR", "INF_RATE^60.00^ml/h", "INF_START"):
        assert bed.say(body) == body
    bed.wait(1)
    assert bed.status()[2:8] == ["SET", "60.00", "ml/h", "", "1.000", "ml"]
    assert bed.say("INF_RATE^30^ml/h") == "INF_RATE^30.00^ml/h"
    bed.wait(2)
    assert bed.status()[6] == "2.000"
    for body in ("INF_STOP", "INF_STOP"):
        assert bed.say(body) == body
    assert bed.status()[1:4] == ["-", "HLD", "0.00"]
    assert bed.say("REMQUERY^DEACT") == "REMQUERY^DEACT^^^^"
    assert bed.truth()["plunger_ml"] == pytest.approx(2.0, abs=1e-4)


def test_a_start_that_is_sent_again_changes_nothing() -> None:
    bed = running(speed=FAST, refused_order="silent")
    bed.say("INF_VTBI^ACTIV^2.000^ml^STOP")
    bed.wait(1)
    log_id = bed.status()[-1]
    assert bed.say("INF_START") == "INF_START"
    assert bed.status()[-1] == log_id
    bed.wait(2)
    assert bed.truth()["plunger_ml"] == pytest.approx(2.0, abs=1e-4)


@pytest.mark.parametrize("rate", ["0", "0.04", "1200.1", "9999"])
def test_a_rate_out_of_bounds_is_answered_and_not_taken(rate: str) -> None:
    bed = controlled()
    bed.say("INF_RATE^27.00^ml/h")
    assert bed.say(f"INF_RATE^{rate}^ml/h") == f"INF_RATE^{float(rate):.2f}^ml/h"
    assert bed.truth()["set_rate_ml_h"] == 27.0
    assert controlled(refused_order="silent").say(f"INF_RATE^{rate}^ml/h") is None


def test_a_rate_finer_than_the_step() -> None:
    for finer, taken in (("rounded", 27.1), ("refused", 10.0), ("taken", 27.06)):
        bed = running("10.00", finer_rates=finer)
        assert bed.say("INF_RATE^27.06^ml/h") == "INF_RATE^27.06^ml/h"
        assert bed.status()[3] == f"{taken:.2f}"


def test_the_syringe_bounds_the_rate() -> None:
    bed = controlled(syringe_ml="20", syringe_make="BD PERFUSOR", fill_ml=20)
    assert bed.say("SYRINGE_STATUS") == "SYRINGE_STATUS^BD PERFUSOR^ 20^CONF"
    assert bed.say("INF_RATE_MAX_SYRINGE") == "INF_RATE_MAX_SYRINGE^600.00^ml/h"
    bed.say("INF_RATE^600.1^ml/h")
    assert bed.truth()["set_rate_ml_h"] == 0
    bed.do("alarm", name="syringe_not_seated")
    assert bed.say("SYRINGE_STATUS") == "SYRINGE_STATUS^BD PERFUSOR^ 20^UNCONF"


def test_a_volume_limit_may_bar_fast_rates() -> None:
    bed = controlled(barred_above_ml_h=500.0)
    bed.say("INF_RATE^600.00^ml/h")
    assert bed.truth()["set_rate_ml_h"] == 600
    bed.say("INF_VTBI^ACTIV^50.000^ml^STOP")
    bed.say("INF_RATE^700.00^ml/h")
    assert (bed.truth()["set_rate_ml_h"], bed.truth()["refused"]) == (600, "too fast with a limit")


def test_the_limit_is_met_exactly() -> None:
    bed = running(speed=FAST)
    bed.say("INF_VTBI^ACTIV^2.500^ml^STOP")
    assert bed.say("INF_VTBI") == "INF_VTBI^ACTIV^2.500^ml^STOP"
    bed.wait(10)
    assert bed.truth()["plunger_ml"] == pytest.approx(2.5, abs=1e-4)
    assert bed.alarm() == "AL_VTBIS"
    assert bed.status()[1:4] == ["A", "HLD", "0.00"]
    bed.do("press", key="mute")
    bed.say("INF_START")
    assert (bed.truth()["state"], bed.truth()["refused"]) == ("held", "limit reached")
    assert bed.say("INF_VTBI^DEACT") == "INF_VTBI^DEACT^^^"
    bed.say("INF_START")
    assert bed.truth()["state"] == "running"


def test_a_new_limit_of_the_host_stops_and_the_old_one_is_acknowledged_first() -> None:
    bed = running(speed=FAST)
    bed.do("set_limit", ml=1, at_limit="kvo")
    bed.say("INF_VTBI^ACTIV^0.500^ml^STOP")
    bed.wait(1)
    assert (bed.alarm(), bed.truth()["state"]) == ("AL_VTBIS", "held")
    bed.say("INF_VTBI^ACTIV^0.500^ml^STOP")
    bed.say("INF_START")
    assert (bed.truth()["state"], bed.truth()["refused"]) == ("held", "alarm limit_reached")


@pytest.mark.parametrize(
    ("at_limit", "code", "mode", "rate"),
    [("stop", "AL_VTBIS", "HLD", "0.00"), ("kvo", "AL_VTBIK", "KVO", "1.00"), ("continue", "AL_VTBIC", "SET", "60.00")],
)
def test_what_happens_at_a_limit_of_the_keypad(at_limit: str, code: str, mode: str, rate: str) -> None:
    bed = running(speed=FAST)
    bed.do("set_limit", ml=1, at_limit=at_limit)
    bed.wait(1.1)
    assert (bed.alarm(), bed.status()[2:4]) == (code, [mode, rate])


def test_motions_that_are_no_infusion_have_words_of_their_own() -> None:
    for key, word, rate in (("bolus", "BOL", "500.00"), ("purge", "PRG", "500.00")):
        bed = Bed()
        bed.do("press", key=key)
        assert bed.status()[2:4] == [word, rate]
        plain = Bed(moving_words="SET")
        plain.do("press", key=key)
        assert plain.status()[2:4] == ["SET", rate]


def test_a_pump_that_stands_may_show_its_set_rate() -> None:
    bed = controlled(held_shows_set_rate=True)
    bed.say("INF_RATE^27.00^ml/h")
    assert bed.status()[2:4] == ["HLD", "27.00"]


def test_keys_make_the_log_id_jump() -> None:
    bed = running(orders_are_logged=False)
    before = int(bed.status()[-1])
    bed.say("INF_RATE^50.00^ml/h")
    assert int(bed.status()[-1]) == before
    bed.do("press", key="stop")
    assert int(bed.status()[-1]) > before
    logged = running()
    before = int(logged.status()[-1])
    logged.say("INF_RATE^50.00^ml/h")
    assert int(logged.status()[-1]) == before + 1


def test_time_left() -> None:
    assert [clock(s) for s in (None, 0, 61.5, 86399, 86400)] == ["24+", "00:00:00", "00:01:01", "23:59:59", "24+"]
    bed = running()
    assert bed.status()[10] == "00:49:59"
    bed.say("INF_VTBI^ACTIV^20.000^ml^STOP")
    assert bed.status()[10] in ("00:20:00", "00:19:59")


# -- alarms


@pytest.mark.parametrize("trouble", sorted(CODES))
def test_every_alarm_is_told_and_stops_what_it_must(trouble: Trouble) -> None:
    bed = running()
    assert bed.status()[1] == "-"
    bed.do("alarm", name=str(trouble))
    code = "AL_LBTAC" if trouble is Trouble.BATTERY_LOW else CODES[trouble][0]
    assert bed.say("ALARM") == f"ALARM^{code}^{CODES[trouble][1]}^"
    stops = code in ("AL_OCCLU", "AL_DRDIS", "AL_SYRCO", "AL_FAULT", "AL_EMBAT", "AL_EOIST")
    assert bed.status()[1:3] == ["A", "HLD" if stops else "SET"]
    bed.do("alarm_over", name=str(trouble))
    bed.do("press", key="mute")
    assert (bed.alarm(), bed.status()[1]) == ("AL_NOALM", "-")


@pytest.mark.parametrize("code", ["AL_EOIKV", *UNEXPLAINED])
def test_codes_of_which_only_the_name_is_known(code: str) -> None:
    bed = running()
    bed.do("alarm_code", code=code)
    assert bed.alarm() == code
    assert bed.status()[1:3] == ["A", "SET" if code == "AL_EOIKV" else "HLD"]
    if code != "AL_EOIKV":
        bed.say("INF_START")
        assert bed.truth()["state"] == "held"
    bed.do("alarm_code_over", code=code)
    assert (bed.alarm(), bed.status()[1]) == ("AL_NOALM", "-")


def test_every_code_of_the_notes_can_be_reached() -> None:
    told = {code for code, _ in CODES.values()} | {"AL_NOALM", "AL_EOIKV", "AL_LBTAC", "AL_VTBIK", "AL_VTBIC"}
    assert told | set(UNEXPLAINED) == {
        *("AL_NOALM", "AL_OCCLU", "AL_DRDIS", "AL_SYRCO", "AL_COMTO", "AL_FAULT", "AL_EMBAT", "AL_LWBAT", "AL_LBTAC"),
        *("AL_ACDIS", "AL_NEOIN", "AL_EOIST", "AL_EOIKV", "AL_VTBIS", "AL_VTBIK", "AL_VTBIC", "AL_CALLB", "AL_PRDSC"),
        *("AL_RHIGH", "AL_LDSCN", "AL_TCITG", "AL_TITCA", "AL_TITNC", "AL_OTHER"),
    }


def test_one_code_is_spelt_with_a_blank_somewhere() -> None:
    bed = Bed(drdis_with_blank=True)
    bed.do("alarm", name="drive_disengaged")
    assert bed.alarm() == "AL DRDIS"


@pytest.mark.parametrize(("shown", "code"), [("last", "AL_ACDIS"), ("first", "AL_NEOIN"), ("worst", "AL_OCCLU")])
def test_of_several_alarms_one_is_told(shown: str, code: str) -> None:
    bed = running(alarm_shown=shown)
    for name in ("container_near_empty", "occlusion", "mains_lost"):
        bed.do("alarm", name=name)
    assert bed.alarm() == code


def test_the_line_closes() -> None:
    bed = running(speed=FAST)
    bed.do("occlude")
    bed.wait(2)
    assert (bed.alarm(), bed.status()[8]) == ("AL_OCCLU", "500.00")
    bed.do("release")
    assert bed.status()[8] == "-50.00"
    bed.do("press", key="mute")
    assert bed.alarm() == "AL_NOALM"


def test_the_syringe_runs_out() -> None:
    bed = running(speed=FAST, fill_ml=3.0)
    bed.wait(2.1)
    assert bed.alarm() == "AL_NEOIN"
    bed.wait(1)
    assert (bed.alarm(), bed.status()[2]) == ("AL_EOIST", "HLD")
    bed.do("new_syringe", fill_ml=50)
    bed.do("press", key="mute")
    assert bed.alarm() == "AL_NOALM"


def test_the_end_is_announced() -> None:
    bed = running(speed=FAST, call_back_s=0.0)
    bed.say("INF_VTBI^ACTIV^5.000^ml^STOP")
    bed.wait(1.9)
    assert bed.alarm() == "AL_NOALM"
    bed.wait(0.2)
    assert bed.alarm() == "AL_NEOIN"


def test_nobody_does_anything() -> None:
    bed = Bed()
    bed.wait(121)
    assert (bed.alarm(), bed.status()[1]) == ("AL_CALLB", "A")
    bed.control()
    bed.say("INF_RATE^27.00^ml/h")
    bed.say("INF_START")
    assert (bed.truth()["state"], bed.alarm()) == ("running", "AL_NOALM")


def test_the_battery_carries_it_and_then_it_is_dark() -> None:
    bed = running("6.00", speed=FAST, battery_min=40, alarm_shown="last", watchdog_fed_by="any")
    bed.do("power_off")
    heard = []
    for _ in range(45):
        bed.wait(1)
        if bed.status() != []:
            heard.append(bed.alarm())
    assert list(dict.fromkeys(heard)) == ["AL_ACDIS", "AL_LWBAT", "AL_EMBAT"]
    assert bed.say("ALARM") is None
    bed.do("power_on")
    assert bed.truth()["remote"] is False
    assert bed.status()[2] == "HLD"
    assert bed.alarm() == "AL_LBTAC"


def test_a_fresh_pump_after_a_reboot_has_forgotten_its_host() -> None:
    bed = running()
    bed.write(b"!INF")
    bed.do("reboot")
    assert bed.say("INF_START") == "INF_START"
    truth = bed.truth()
    assert (truth["state"], truth["remote"], truth["refused"]) == ("held", False, "no remote control")


@pytest.mark.parametrize("name", [*CHOICES, "near_end_s", "unanswered_every"])
def test_a_choice_that_there_is_not_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} = "):
        Invented(**{name: "x" if name in CHOICES else -1})  # type: ignore[arg-type]
