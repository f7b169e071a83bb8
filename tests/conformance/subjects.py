"""Our own drivers, as the conformance kit wants to be told of a driver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from drivers import alaris, bbraun, fresenius, harvard, newera, zyno
from pumpd.driver import Container, Dialogue, Motion, Programme, Pump, PumpReport
from pumpd.testing.conformance import Subject, Transcript
from pumpd.units import Ml, MlPerHour
from simulator.device import Device
from tests.fitted import syringe
from tests.wire.bbraun_rehearsal import ARM, CONNECT, LOAD_LOCKED, STANDS, actual, ident, set_values, status
from tests.wire.rehearsal import in_safe_mode, safe, transcript

PLASTIPAK = Container("syringe", "BD Plastipak", Ml(50), Decimal("26.6"), Ml(50))
BAG = Container("bag", "any", Ml(100), None, Ml(50))
Lines = Sequence[tuple[str, str | None]]


def given(device: Device) -> float:
    """What the plunger truly displaced."""
    return float(device.truth()["plunger_ml"])


def by_hand(*deeds: dict[str, Any]) -> Callable[[Device], None]:
    """What a person does at the pump."""

    def do(device: Device) -> None:
        for deed in deeds:
            answer = device.control(deed)
            assert answer["ok"], answer

    return do


PRESS_RUN = {"do": "press", "key": "run"}


def connect(pump: Pump) -> Dialogue[Any]:
    return pump.connect()


def read(pump: Pump) -> Dialogue[Any]:
    return pump.read()


# --- New Era ----------------------------------------------------------------------------------------------------------

NEWERA_CONNECT = Transcript("connect after power-on", connect, transcript("connect_after_power_on"))
RUN = transcript("run_change_stop")
NEWERA_IN_SAFE_MODE = Transcript(
    "connect to a pump in Safe mode",
    connect,
    in_safe_mode(
        [
            ("", "S"),
            ("SAF", "S10"),
            ("VER", "SNE1000V3.928"),
            ("DIA", "S26.59"),
            ("VOL", "S5.000ML"),
            ("RAT", "S2.000MM"),
        ]
    ),
)
NEWERA = Subject(
    driver=newera.DRIVER,
    device=lambda: Device("newera"),
    container=syringe(),
    given=given,
    transcripts=(
        NEWERA_CONNECT,
        Transcript("connect to a pump that infuses", connect, transcript("connect_while_infusing")),
        Transcript(
            "arm a pump as it left the factory",
            lambda pump: pump.arm(Programme(syringe(), MlPerHour("26.67"), Ml(20), keypad_lock=True)),
            transcript("arm_factory_pump"),
            before=(NEWERA_IN_SAFE_MODE,),
        ),
        Transcript(
            "load after a pause",
            lambda pump: pump.load(MlPerHour("26.67"), Ml("13.27")),
            transcript("load_after_pause"),
            before=(NEWERA_IN_SAFE_MODE,),
        ),
        Transcript("start", lambda pump: pump.start(), RUN[:1], before=(NEWERA_IN_SAFE_MODE,)),
        Transcript("read", read, RUN[1:3], before=(NEWERA_IN_SAFE_MODE,)),
        Transcript(
            "set_rate",
            lambda pump: pump.set_rate(MlPerHour(20)),
            RUN[3:6],
            before=(NEWERA_IN_SAFE_MODE,),
            gives=MlPerHour(20),
        ),
        Transcript("stop", lambda pump: pump.stop(), RUN[6:8], before=(NEWERA_IN_SAFE_MODE,)),
    ),
    frames=tuple(safe(text) for text in ("00S", "00A?T", "00S?OOR", "00SNE1000V3.928", "00II0.100W0.000ML")),
    unknown_alarms=(safe("00A?Z"), safe("00A?")),
)


# --- Alaris -----------------------------------------------------------------------------------------------------------


def alaris_frame(text: str) -> bytes:
    value = 0xFFFF
    for byte in text.encode():
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1) ^ 0x1021 if value & 0x8000 else value << 1
        value &= 0xFFFF
    return f"!{text}|{value:04X}\r".encode()


def alaris_lines(lines: Lines) -> list[tuple[bytes, bytes | None]]:
    return [(alaris_frame(sent), None if answer is None else alaris_frame(answer)) for sent, answer in lines]


def alaris_status(mode: str, rate: str, flag: str = "-") -> tuple[str, str]:
    return "INF", f"INF^8002-51740^{flag}^{mode}^{rate}^ml/h^^6.730^ml^17.91^mmHg^24+^EVENT^127904"


ALARIS_CONNECT = Transcript(
    "connect",
    connect,
    alaris_lines(
        [
            ("INST_SERIALNO", "INST_SERIALNO^8002-51740"),
            ("COMMS_PROTOCOL", "COMMS_PROTOCOL^Asena Rev 2.1.5"),
            ("INF_VTBI", "INF_VTBI^DEACT^^^"),
            alaris_status("HLD", "0.00"),
            alaris_status("HLD", "0.00"),
            ("REMOTE_CTRL^ENABLED^3CC1", "REMOTE_CTRL^ENABLED^****^PERMIT^0^ms"),
            ("REMOTE_CTRL^DISABLED", "REMOTE_CTRL^DISABLED^****^PERMIT^0^ms"),
        ]
    ),
)
ALARIS = Subject(
    driver=alaris.DRIVER,
    device=lambda: Device("alaris", fill_ml=50.0),
    container=PLASTIPAK,
    given=given,
    transcripts=(
        ALARIS_CONNECT,
        Transcript(
            "start",
            lambda pump: pump.start(),
            alaris_lines([("INF_START", "INF_START")]),
            before=(ALARIS_CONNECT,),
        ),
        Transcript(
            "stop",
            lambda pump: pump.stop(),
            alaris_lines(
                [
                    ("INF_STOP", "INF_STOP"),
                    alaris_status("HLD", "0.00"),
                    alaris_status("HLD", "0.00"),
                    ("REMOTE_CTRL^DISABLED", "REMOTE_CTRL^DISABLED"),
                ]
            ),
            before=(ALARIS_CONNECT,),
            gives=PumpReport(Motion.STANDING, counted=Ml("6.73")),
        ),
    ),
    unknown_alarms=tuple(
        Transcript(
            f"alarm {code or 'without a code'}",
            read,
            alaris_lines([alaris_status("SET", "26.60", "A"), ("ALARM", f"ALARM^{code}^^")]),
            before=(ALARIS_CONNECT,),
        )
        for code in ("AL_NEWNO", "AL_PRDSC", "")
    ),
)


# --- B. Braun ---------------------------------------------------------------------------------------------------------

BBRAUN_CONNECT = Transcript("connect", connect, CONNECT)
BBRAUN_PLAN = (MlPerHour("10.0"), Ml("20.0"))
BBRAUN_ARM = Transcript(
    "arm",
    lambda pump: pump.arm(Programme(PLASTIPAK, *BBRAUN_PLAN, keypad_lock=True)),
    ARM,
    before=(BBRAUN_CONNECT,),
)
BBRAUN_STOP = "it listens at one of two addresses, by its mode: a driver that has just begun sends STOP to both in turn"
PERFUSOR = Subject(
    driver=bbraun.DRIVER,
    settings={"model": "perfusor"},
    stop_needs_more=BBRAUN_STOP,
    device=lambda: Device("bbraun", fill_ml=50.0),
    container=PLASTIPAK,
    given=given,
    transcripts=(
        BBRAUN_CONNECT,
        BBRAUN_ARM,
        Transcript("load", lambda pump: pump.load(*BBRAUN_PLAN), LOAD_LOCKED, before=(BBRAUN_ARM,)),
    ),
    frames=tuple(answer for _, answer in (ident(), status(), actual(), set_values()) if answer is not None),
    unknown_alarms=tuple(
        Transcript(
            f"alarm bit {bit}",
            read,
            [actual(address=""), status(STANDS, alarm=1 << bit, address=""), set_values(address="")],
            before=(BBRAUN_CONNECT,),
        )
        for bit in (13, 18, 31)
    ),
)
INFUSOMAT = Subject(
    driver=bbraun.DRIVER,
    settings={"model": "infusomat"},
    stop_needs_more=BBRAUN_STOP,
    device=lambda: Device("bbraun", type_number="202", fill_ml=50.0),
    container=BAG,
    given=given,
    leaves_out={
        "transcripts_replay": "its conversations are the Perfusor's",
        "unknown_alarms_are_told": "its alarm words are the Perfusor's",
    },
    frames=PERFUSOR.frames,
)


# --- Harvard ----------------------------------------------------------------------------------------------------------


def harvard_lines(lines: Lines) -> list[tuple[bytes, bytes | None]]:
    """Answers of a pump at address 0 that ends them with XON; "|" ends a line, and the prompt follows it."""
    return [(f"{sent}\r".encode(), None if answer is None else harvard_answer(answer)) for sent, answer in lines]


def harvard_answer(text: str) -> bytes:
    *said, prompt = text.split("|")
    return b"".join(b"\n%b\r" % line.encode() for line in said) + b"\n" + prompt.encode() + b"\x11"


HARVARD = Subject(
    driver=harvard.DRIVER,
    device=lambda: Device("harvard"),
    container=syringe(),
    given=given,
    transcripts=(
        Transcript("start", lambda pump: pump.start(), harvard_lines([("irun", ">")])),
        Transcript(
            "read",
            read,
            harvard_lines(
                [
                    ("ivolume", "368.605 ul|>"),
                    ("irate", "46.666 ml/hr|>"),
                    ("status", "12962777777 60000 368605000000 I...I.|>"),
                ]
            ),
            gives=PumpReport(Motion.INFUSING, MlPerHour("46.666"), Ml("0.368605")),
        ),
        Transcript(
            "stop",
            lambda pump: pump.stop(),
            harvard_lines(
                [
                    ("\rstp", ":"),
                    ("status", "0 60000 368605000000 i...i.|:"),
                    ("ivolume", "368.605 ul|:"),
                ]
            ),
            gives=PumpReport(Motion.STANDING, counted=Ml("0.368605")),
        ),
    ),
    unknown_alarms=(
        Transcript(
            "a flag that is not documented",
            read,
            harvard_lines(
                [
                    ("ivolume", "368.605 ul|:"),
                    ("irate", "46.666 ml/hr|:"),
                    ("status", "0 60000 368605000000 i..Xi.|:"),
                ]
            ),
        ),
    ),
    leaves_out={"a_flipped_bit_is_no_other_frame": "its replies have no check (docs/devices/harvard.md)"},
)


# --- watched only -----------------------------------------------------------------------------------------------------


def zyno_frame(text: str) -> bytes:
    body = text.encode()
    return b"\x02%b%02X\x03" % (body, sum(body) & 0xFF)


def zyno_lines(lines: Lines) -> list[tuple[bytes, bytes | None]]:
    return [(zyno_frame(sent), None if answer is None else zyno_frame(answer)) for sent, answer in lines]


ZYNO_CONNECT = Transcript(
    "connect",
    connect,
    zyno_lines([("RN", "RNSN800008"), ("RS", "RS1.0.09"), (":INFU:RATE?", "27.0"), ("Q6", "Q607D0")]),
)
ZYNO_READ: Lines = [
    (":INFU:RUN?", "TRUE"),
    ("Q0", "Q0CONT"),
    ("Q7", "Q70"),
    (":INFU:RATE?", "27.0"),
    ("Q5", "Q50071"),
    ("Q6", "Q607D0"),
]
ZYNO_FIRST_READING = Transcript(
    "read",
    read,
    zyno_lines([*ZYNO_READ, ("RI", "RI0000000000000000"), ("RE00000000", f"RE0000000018100E00000000{'00' * 9}")]),
    before=(ZYNO_CONNECT,),
    gives=PumpReport(Motion.INFUSING, MlPerHour(27), Ml("1.13"), Ml(20), warnings=()),
)
ZYNO = Subject(
    driver=zyno.DRIVER,
    device=lambda: Device("zyno", programmed_rate_ml_h=46.6, programmed_volume_ml=35.0),
    container=BAG,
    given=given,
    transcripts=(ZYNO_CONNECT, ZYNO_FIRST_READING),
    unknown_alarms=(
        Transcript(
            "an event that is not in its table",
            read,
            zyno_lines(
                [
                    *ZYNO_READ,
                    ("RI", "RI0000000000000001"),
                    ("RE00000001", f"RE0000000128100E00000003{'00' * 9}"),
                ]
            ),
            before=(ZYNO_CONNECT, ZYNO_FIRST_READING),
        ),
    ),
    start_at_keypad=by_hand(PRESS_RUN),
)


def fresenius_frame(text: str) -> bytes:
    body = text.encode()
    return b"\x02%b%02X\x03" % (body, 0xFF - (sum(body) & 0xFF))


FRESENIUS_CONNECT = Transcript(
    "connect",
    connect,
    [
        (fresenius_frame(sent), b"\x06" + fresenius_frame(answer))
        for sent, answer in (("0DC", "0C"), ("0LE;b", "0C;b07"), ("1DC", "1C"), ("1LF;b", "1C;bMODULE DPS"))
    ],
)
FRESENIUS = Subject(
    driver=fresenius.DRIVER,
    settings={"module": 1},
    leaves_out={
        "a_flipped_bit_is_no_other_frame": "ENQ, ACK and NAK are bytes without a check that may stand inside a frame"
    },
    device=lambda: Device("fresenius"),
    container=PLASTIPAK,
    given=given,
    transcripts=(FRESENIUS_CONNECT,),
    frames=tuple(fresenius_frame(text) for text in ("1C;a00;e00;d0064;r00001388", "1C;bMODULE DPS", "0C;b07")),
    unknown_alarms=tuple(
        Transcript(
            f"alarm word {word}",
            read,
            [
                (
                    fresenius_frame("1LE;aedr"),
                    b"\x06" + fresenius_frame(f"1C;a{word};e00;d0064;r00001388"),
                )
            ],
            before=(FRESENIUS_CONNECT,),
        )
        for word in ("80", "04")
    ),
    start_at_keypad=by_hand({"do": "set_rate", "ml_h": 46.6}, PRESS_RUN),
)

SUBJECTS = {
    "newera": NEWERA,
    "alaris": ALARIS,
    "perfusor": PERFUSOR,
    "infusomat": INFUSOMAT,
    "harvard": HARVARD,
    "zyno": ZYNO,
    "fresenius": FRESENIUS,
}
