"""The watchers' own eyes: what each family's commands are read as, from the published conversations."""

from __future__ import annotations

import pytest

from tests.campaign.readers import READERS, Said

WIRE: dict[str, dict[bytes, Said]] = {
    "newera": {
        b"RUN\r": Said("RUN", starts=True),
        b"\x02\x08RAT50\x00\x00\x03": Said("RAT50", rate_ml_h=50.0),
        b"VOL35.0\r": Said("VOL35.0", limit_ml=35.0),
        b"STP\r": Said("STP", sets=False),
        b"SAF0\r": Said("SAF0", sets=False, disarms=True),
        b"DIRWDR\r": Said("DIRWDR", never=True),
    },
    "alaris": {
        b"!INF_START|38F3\r": Said("INF_START", starts=True),
        b"!INF_RATE^27.00^ml/h|511C\r": Said("INF_RATE^27.00^ml/h", rate_ml_h=27.0),
        b"!INF_VTBI^ACTIV^20.000^ml^STOP|8CF3\r": Said("INF_VTBI^ACTIV^20.000^ml^STOP", limit_ml=20.0),
        b"!INF_VTBI^DEACT|D8C5\r": Said("INF_VTBI^DEACT", limit_ml=0.0),
        b"!INF_STOP|CD57\r": Said("INF_STOP", sets=False),
        b"!REMOTE_CTRL^DISABLED|EF95\r": Said("REMOTE_CTRL^DISABLED", sets=False, lets_go=True),
        b"!INF_BOLUS^ENABLED|E288\r": Said("INF_BOLUS^ENABLED", never=True),
    },
    "bbraun": {
        bytes.fromhex("7e41110001b82c7e"): Said("action 0 1", starts=True),
        bytes.fromhex("7e41110000b82d7e"): Said("action 0 0", sets=False),
        bytes.fromhex("7e4112000003e8000000c8" + "ff" * 32 + "2b627e"): Said(
            "set 1000 200", rate_ml_h=10.0, limit_ml=20.0
        ),
        bytes.fromhex("7e4112000004e2ffffffff" + "ff" * 32 + "14677e"): Said("set 1250 4294967295", rate_ml_h=12.5),
        bytes.fromhex("7e0010f013cfc60041ffffffff38107e"): Said("documentation mode", sets=False, lets_go=True),
        bytes.fromhex("7e411105010000" + "7e"): Said("action 5 1", never=True),
    },
    "harvard": {
        b"irun\r": Said("irun", starts=True),
        b"irate 3.2 ul/min\r": Said("irate 3.2 ul/min", rate_ml_h=3.2 * 0.06),
        b"12tvolume 35 ml\r": Said("12tvolume 35 ml", limit_ml=35.0),
        b"\rstp\r": Said("stp", sets=False),
        b"wrun\r": Said("wrun", never=True),
    },
}
SILENT: dict[str, tuple[bytes, ...]] = {
    "newera": (b"RAT\r", b"VOL\r", b"\r", b"\xff\x02", b"DIS\r"),
    "alaris": (b"!INF|4961\r", b"!INF_VTBI|8456\r", b"!INF_RATE|8E6D\r", b"!REMOTE_CTRL^ENABLED^3CC1|0000\r"),
    "bbraun": (bytes.fromhex("7e41025c0d7e"), bytes.fromhex("7e00011d0e7e"), b"\x7e\x7e"),
    "harvard": (b"irate\r", b"tvolume\r", b"iramp\r", b"\r", b"version\r", b"status\r"),
}


@pytest.mark.parametrize(
    ("family", "data", "said"), [(family, data, said) for family, read in WIRE.items() for data, said in read.items()]
)
def test_what_sets_something_is_read_as_what_it_is(family: str, data: bytes, said: Said) -> None:
    assert list(READERS[family](data)) == [said]


@pytest.mark.parametrize(("family", "data"), [(family, data) for family, all_of in SILENT.items() for data in all_of])
def test_questions_and_noise_say_nothing(family: str, data: bytes) -> None:
    assert list(READERS[family](data)) == []
