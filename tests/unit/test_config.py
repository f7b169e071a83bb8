from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from pumpd.config import Bus, Config, ConfigError, load, load_drug_library, load_syringes, share_file
from pumpd.core.limits import DRUG_CLASSES, CourseLimits
from pumpd.units import MlPerHour

STATION = '[station]\nid = "ward-3"\ndata_dir = "data"\n'
SIMULATED = 'driver = "newera"\nport = "socket://localhost:7001"\nsimulated = true\n'
REAL = 'driver = "newera"\nport = "/dev/serial/by-id/usb-x"\nlaboratory = true\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "ward3.toml"
    path.write_text(text)
    return path


def with_pump(folder: Path, pump: str = SIMULATED, bed: str = "", more: str = "") -> Config:
    return load(written(folder, f"{STATION}{more}[bed.one]\n{bed}\n[bed.one.pump]\n{pump}"))


def problems(folder: Path, text: str) -> list[str]:
    """The lines of the error, without the file's name."""
    path = written(folder, text)
    with pytest.raises(ConfigError) as raised:
        load(path)
    assert all(line.startswith(f"{path}:") for line in raised.value.problems)
    return [line.removeprefix(f"{path}: ") for line in raised.value.problems]


def pump_problems(folder: Path, pump: str, bed: str = "") -> list[str]:
    return problems(folder, f"{STATION}[bed.one]\n{bed}\n[bed.one.pump]\n{pump}")


# --- what is understood -----------------------------------------------------------------------------------------------


def test_a_short_file_is_enough_and_everything_else_has_its_default(tmp_path: Path) -> None:
    config = with_pump(tmp_path)
    assert config.bus.url == "none"
    assert config.bus.verbs == {"snapshot"}
    assert config.bus.bus_loss == "continue"
    assert config.annunciator.kind == "bell"
    assert config.bed["one"].speed == 1
    assert config.bed["one"].restore == "ask"
    assert config.simulated


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    more = 'drug_library = "/etc/drugs.toml"\nsyringes = "syringes.toml"\n[local]\nsocket = "../p.sock"\n'
    config = with_pump(tmp_path, more=more)
    assert config.journal == tmp_path / "data" / "journal.sqlite3"
    assert config.station.drug_library == Path("/etc/drugs.toml")
    assert config.station.syringes == tmp_path / "syringes.toml"
    assert config.socket == tmp_path / "../p.sock"
    assert with_pump(tmp_path).socket == tmp_path / "data" / "pumpd.sock"


def test_driver_settings_pass_through_as_they_are(tmp_path: Path) -> None:
    config = with_pump(tmp_path, SIMULATED + '[bed.one.pump.settings]\naddress = 7\nmode = "basic"')
    assert config.bed["one"].pump.settings == {"address": 7, "mode": "basic"}


@pytest.mark.parametrize("text", ["120 mL/h", "120ml/h", " 120.0 ML/H "])
def test_a_rate_is_text_with_its_unit(tmp_path: Path, text: str) -> None:
    config = with_pump(tmp_path, f'{SIMULATED}max_rate = "{text}"')
    assert config.bed["one"].pump.max_rate == MlPerHour(120)


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("mqtt://127.0.0.1:1883", True),
        ("mqtt://127.8.8.8", True),
        ("mqtt://[::1]:1883", True),
        ("mqtt://localhost:1883", True),
        ("embedded", True),
        ("none", True),
        ("mqtt://10.0.0.1:1883", False),
        ("mqtt://localhost.example.org", False),
        ("mqtt://broker", False),
    ],
)
def test_only_a_broker_on_this_machine_is_loopback(url: str, loopback: bool) -> None:
    assert Bus(url=url).loopback is loopback


def test_whoever_may_do_anything_may_stop_and_pause() -> None:
    assert Bus(allow=("session.start",)).verbs == {
        "session.start",
        "session.stop",
        "session.pause",
        "pump.stop",
        "snapshot",
    }


# --- what is refused, and in which words ------------------------------------------------------------------------------


@pytest.mark.shows("S8", "within:CODE_MAX_RATE", "beyond:CODE_MAX_RATE")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('"120 ml/min"', "expected mL/h; did you mean 7200 mL/h? (above the code limit 200)"),
        ('"2 mL/min"', "expected mL/h; did you mean 120 mL/h?"),
        ('"0.1 L/h"', "expected mL/h; did you mean 100.0 mL/h?"),
        ('"500 uL/min"', "expected mL/h; did you mean 30.00 mL/h?"),
        ("120", 'expected a rate with its unit, such as "120 mL/h"'),
        ('"120"', 'expected a rate with its unit, such as "120 mL/h"'),
        ('"-5 mL/h"', 'expected a rate with its unit, such as "120 mL/h"'),
        ('"fast"', 'expected a rate with its unit, such as "120 mL/h"'),
        ('"0 mL/h"', "expected a rate above 0 and up to 200 mL/h"),
        ('"200.1 mL/h"', "expected a rate above 0 and up to 200 mL/h (above the code limit 200)"),
    ],
)
def test_a_rate_in_another_unit_is_answered_with_the_right_figure(tmp_path: Path, text: str, told: str) -> None:
    assert pump_problems(tmp_path, f"{SIMULATED}max_rate = {text}") == [f"[bed.one.pump] max_rate = {text}: {told}"]


@pytest.mark.shows("H51")
def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    told = problems(
        tmp_path,
        """
        [station]
        id = "Ward 3"
        [bus]
        url = "http://broker"
        allow = ["session.strt"]
        bus_loss = "stop"
        [loge]
        [bed.one.pump]
        driver = "newera"
        simulated = "yes"
        max_rat = 3
        baud = 12
        [bed.two]
        """,
    )
    starts = [
        '[station] id = "Ward 3": expected the station\'s name on the bus: 1 to 32 of a-z, 0-9 and -',
        "[station] data_dir: missing; expected the folder of the journal",
        '[bus] url = "http://broker": expected "embedded", "none" or "mqtt://host:port"',
        '[bus] allow = "session.strt": unknown verb; known verbs: session.plan, ',
        '[bus] bus_loss = "stop": expected "continue"',
        '[bed.one.pump] port: missing; expected where the pump is, such as "/dev/serial/by-id/..."',
        "[bed.one.pump] baud = 12: expected bits per second, from 300 to 4000000",
        '[bed.one.pump] simulated = "yes": expected true for a port of the simulator, else false',
        "[bed.one.pump] max_rat: unknown key; did you mean max_rate? known keys: driver, port, baud, ",
        "[bed.two] pump: missing; expected a section [bed.<id>.pump]",
        "loge: unknown key; did you mean log? known keys: station, bus, local, annunciator, alarms, log, bed",
    ]
    assert len(told) == len(starts)
    for start, line in zip(starts, told, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[station]\nid = "ward', ": Unterminated string (at the end of the file)"),
        ('[station]\nid = "ward\n', ":2: Illegal character '\\n' (column 11)"),
        ("[station", ": Expected ']' at the end of a table declaration (at the end of the file)"),
        ('[station]\nid = "a"\nid = "b"\n', ":3: this key or section stands in the file twice"),
        ("[bed.one]\n[bed.one]\n", ":2: this key or section stands in the file twice"),
    ],
)
def test_a_syntax_error_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as raised:
        load(path)
    (line,) = raised.value.problems
    assert line.startswith(f"{path}{told}")


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.toml: No such file or directory"):
        load(tmp_path / "nowhere.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xe4")
    with pytest.raises(ConfigError, match="byte 2 is no UTF-8 text"):
        load(tmp_path / "latin.toml")


@pytest.mark.parametrize("bed", ["Bed", "bed_1", "b" * 33, "a/b", "+"])
def test_an_id_that_would_break_a_topic_is_refused(tmp_path: Path, bed: str) -> None:
    told = problems(tmp_path, f'{STATION}[bed."{bed}".pump]\n{SIMULATED}')
    assert told == [f"[bed.{bed}] expected a section [bed.<id>] for each bed, its id 1 to 32 of a-z, 0-9 and -"]


def test_a_station_without_beds_is_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, STATION) == [
        "bed: missing; expected a section [bed.<id>] for each bed, its id 1 to 32 of a-z, 0-9 and -"
    ]


@pytest.mark.shows("S14")
def test_accelerated_time_is_refused_with_a_real_pump(tmp_path: Path) -> None:
    assert with_pump(tmp_path, bed="speed = 60").bed["one"].speed == 60
    assert pump_problems(tmp_path, REAL, "speed = 60") == [
        "[bed.one] speed = 60: accelerated time needs every device of the bed simulated"
    ]


@pytest.mark.shows("S2")
def test_restoring_unasked_is_refused_with_a_real_pump(tmp_path: Path) -> None:
    assert with_pump(tmp_path, bed='restore = "auto"').bed["one"].restore == "auto"
    (line,) = pump_problems(tmp_path, REAL, 'restore = "auto"')
    assert line.startswith('[bed.one] restore = "auto": ')


@pytest.mark.parametrize("port", ["/dev/serial/by-id/x", "/dev/serial/by-path/x", "socket://10.0.0.2:4001"])
def test_a_stable_port_needs_no_serial_number(tmp_path: Path, port: str) -> None:
    assert with_pump(tmp_path, f'driver = "newera"\nport = "{port}"').bed["one"].pump.port == port


@pytest.mark.shows("S15")
def test_a_port_that_may_be_another_device_tomorrow_needs_a_serial_number(tmp_path: Path) -> None:
    pump = 'driver = "newera"\nport = "/dev/ttyUSB0"\n'
    (line,) = pump_problems(tmp_path, pump)
    assert line.startswith('[bed.one.pump] port = "/dev/ttyUSB0": another device may get this name tomorrow')
    assert with_pump(tmp_path, pump + 'serial_number = "123"')


@pytest.mark.shows("S14")
def test_a_real_port_cannot_be_called_simulated(tmp_path: Path) -> None:
    (line,) = pump_problems(tmp_path, REAL + "simulated = true")
    assert line == '[bed.one.pump] simulated = true, but port = "/dev/serial/by-id/usb-x" is no port of the simulator'
    assert with_pump(tmp_path, SIMULATED.replace("socket://localhost:7001", "/dev/pts/3"))


TWO_BEDS = """{station}
[bed.one.pump]
driver = "newera"
port = "/dev/serial/by-id/a"
{one}
[bed.two.pump]
driver = "newera"
port = "/dev/serial/by-id/{port}"
{two}
"""


@pytest.mark.shows("S15")
@pytest.mark.parametrize(
    ("one", "two", "port", "told"),
    [
        ("settings.address = 1", "settings.address = 2", "a", 'port = "/dev/serial/by-id/a": the same port as'),
        ("", "settings.address = 0", "b", "driver = newera, address = 0: without a serial number"),
        ('serial_number = "7"', 'serial_number = "7"', "b", 'serial_number = "7": the same serial number as'),
    ],
)
def test_pumps_that_could_be_taken_for_one_another_are_refused(
    tmp_path: Path, one: str, two: str, port: str, told: str
) -> None:
    (line,) = problems(tmp_path, TWO_BEDS.format(station=STATION, one=one, two=two, port=port))
    assert line.startswith(f"[bed.two.pump] {told}")
    assert line.endswith("[bed.one.pump]")


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("settings.address = 1", "settings.address = 2"),
        ('serial_number = "7"', 'serial_number = "8"'),
        ('serial_number = "7"', ""),
    ],
)
def test_pumps_that_can_be_told_apart_are_taken(tmp_path: Path, one: str, two: str) -> None:
    load(written(tmp_path, TWO_BEDS.format(station=STATION, one=one, two=two, port="b")))


def test_the_annunciator_needs_what_its_kind_says(tmp_path: Path) -> None:
    bed = f"[bed.one.pump]\n{SIMULATED}"
    command = '[annunciator] kind = "command" and the key command go together'
    assert problems(tmp_path, f'{STATION}[annunciator]\nkind = "command"\n{bed}') == [command]
    assert problems(tmp_path, f'{STATION}[annunciator]\ncommand = ["beep"]\n{bed}') == [command]
    assert problems(tmp_path, f'{STATION}[annunciator]\ndevice = "default"\n{bed}') == [
        '[annunciator] device is only for kind = "audio"'
    ]


# --- drug library and syringes ----------------------------------------------------------------------------------------

LIBRARY = share_file("drug-library.toml").read_text()
SYRINGE = '[[syringe]]\nmake = "BD"\nsize_ml = 60\ndiameter_mm = 26.59\nverified_by = ""\nsource = "a table"\n'


def library_problems(folder: Path, text: str) -> list[str]:
    path = written(folder, text)
    with pytest.raises(ConfigError) as raised:
        load_drug_library(path)
    return [line.removeprefix(f"{path}: ") for line in raised.value.problems]


@pytest.mark.shows("S8", "H47")
def test_the_shipped_drug_library_holds_the_documented_limits() -> None:
    ketamine = load_drug_library(share_file("drug-library.toml")).drugs["ketamine"]  # figures of docs/clinical.md
    spans = {
        name: tuple(getattr(getattr(ketamine, name), side) for side in ("hard_min", "soft_min", "soft_max", "hard_max"))
        for name in ("dose_mg_kg", "duration_min", "weight_kg", "dose_mg", "mass_rate_mg_kg_h")
    }
    assert spans == {
        "dose_mg_kg": (Decimal("0.1"), Decimal("0.4"), Decimal("0.6"), Decimal("1.0")),
        "duration_min": (30, 40, 60, 120),
        "weight_kg": (30, 40, 140, 250),
        "dose_mg": (None, None, 60, 150),
        "mass_rate_mg_kg_h": (Decimal("0.1"), None, None, Decimal("1.5")),
    }
    assert ketamine.concentrations_mg_ml == (1, 2)
    assert ketamine.concentrations_soft == ()
    assert ketamine.course == CourseLimits(), "what the file says is what holds where a file says nothing"
    assert CourseLimits().flagged_classes == tuple(name for name in DRUG_CLASSES if name != "ssri")


@pytest.mark.shows("H47", "H55")
def test_the_drug_library_is_known_by_version_and_checksum(tmp_path: Path) -> None:
    first = load_drug_library(written(tmp_path, LIBRARY))
    second = load_drug_library(written(tmp_path, LIBRARY + "# a word\n"))
    assert first.version == second.version == first.drugs["ketamine"].version
    assert first.sha256 != second.sha256
    assert first.drugs["ketamine"].sha256 == first.sha256, "so each session records it"


@pytest.mark.shows("H47")
@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("soft_min = 0.4", "soft_min = 0.7", "[drug.ketamine.dose_mg_kg] expected hard_min <= soft_min <= soft_max"),
        (", hard_max = 1.0", "", "[drug.ketamine.dose_mg_kg] hard_max: missing; expected a number"),
        ("hard_min = 30,", "hard_min = -1,", "[drug.ketamine.duration_min] hard_min = -1: expected a number"),
        ("hard_max = 250", "hard_max = inf", "[drug.ketamine.weight_kg] hard_max = Infinity: expected a number"),
        ("weight_kg ", "wieght_kg ", "[drug.ketamine] weight_kg: missing"),
        ("[1, 2]", "[]", "[drug.ketamine] concentrations_mg_ml = []: expected a list of concentrations above 0"),
        ("[1, 2]", "[1, 0]", "[drug.ketamine] concentrations_mg_ml = 0: expected a list of concentrations above 0"),
        ("soft_mg_ml = []", "soft_mg_ml = [2]", "[drug.ketamine] concentration 2 mg/mL stands in both lists"),
        ("[1, 2]", "[1, 10]", "[drug.ketamine] concentration 10 mg/mL is always soft; expected in concentrations_soft"),
        ("sessions_max = 10 ", "sessions_max = 0 ", "[drug.ketamine.course] sessions_max = 0: expected a whole number"),
        ("week_max = 3 ", "week_max = 8 ", "[drug.ketamine.course] sessions_per_week_max = 8: expected a whole number"),
        ("days_between_min", "days_betwixt", "[drug.ketamine.course] days_betwixt: unknown key"),
        ('"opioid"', '"opium"', "[drug.ketamine.course] no such drug class: opium; there are: cyp-inhibitor"),
    ],
)
def test_a_drug_library_that_makes_no_sense_is_refused(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in LIBRARY
    assert library_problems(tmp_path, LIBRARY.replace(old, new, 1))[0].startswith(told)


@pytest.mark.shows("S14")
def test_an_unverified_syringe_is_for_the_simulator_only(tmp_path: Path) -> None:
    (syringe,) = load_syringes(written(tmp_path, SYRINGE))
    assert syringe.refusal(simulated=True) is None
    assert "26.59 mm is not verified (a table)" in str(syringe.refusal(simulated=False))
    (verified,) = load_syringes(written(tmp_path, SYRINGE.replace('verified_by = ""', 'verified_by = "A. Smith"')))
    assert verified.refusal(simulated=False) is None


def test_blanks_verify_nothing(tmp_path: Path) -> None:
    (syringe,) = load_syringes(written(tmp_path, SYRINGE.replace('verified_by = ""', 'verified_by = "  "')))
    assert syringe.refusal(simulated=False) is not None


def test_a_syringe_that_stands_twice_or_is_no_syringe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="BD 60 mL stands in the table twice"):
        load_syringes(written(tmp_path, SYRINGE * 2))
    with pytest.raises(ConfigError, match=r"diameter_mm = 265.9: expected the inner diameter, up to 60 mm"):
        load_syringes(written(tmp_path, SYRINGE.replace("26.59", "265.9")))


def test_no_shipped_syringe_claims_to_be_verified() -> None:
    assert [syringe for syringe in load_syringes(share_file("syringes.toml")) if syringe.verified_by] == []


def test_a_file_that_did_not_come_along_is_said() -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing.toml did not come with this installation"):
        share_file("nothing.toml")


@pytest.mark.shows("S13")
@pytest.mark.parametrize(
    ("section", "words"),
    [('[annunciator]\nkind = "none"\n', "needs a sounder"), ('[bus]\nurl = "embedded"\n', "that broker is for trials")],
)
def test_what_only_a_trial_may_do_without_is_refused_for_a_real_pump(tmp_path: Path, section: str, words: str) -> None:
    path = tmp_path / "pumpd.toml"
    real = '[bed.one.pump]\ndriver = "newera"\nport = "/dev/serial/by-id/x"\nlaboratory = true\n'
    path.write_text('[station]\nid = "a"\ndata_dir = "d"\n' + section + real)
    with pytest.raises(ConfigError) as refused:
        load(path)
    assert words in str(refused.value)
    path.write_text('[station]\nid = "a"\ndata_dir = "d"\n' + real)
    assert not load(path).simulated
