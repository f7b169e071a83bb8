"""The command line without a daemon: help, plans, configuration, and how a bed looks."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Iterator
from decimal import Decimal
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App
from rich.console import Console, RenderableType

from pumpd import registry
from pumpd.bedside.desk import CHECKLIST
from pumpd.cli import app, call
from pumpd.commands import setup
from pumpd.commands.picture import Picture
from pumpd.commands.reach import DONE, NO_DAEMON, REFUSED, USAGE
from pumpd.commands.screen import NOT_CERTIFIED, alarm_details, alarm_line, here, station
from pumpd.commands.session import CHECKS
from pumpd.core.catalogue import CATALOGUE
from pumpd.daemon import DISCLAIMER

ROOT = Path(__file__).parents[2]
USUAL = ["--weight", "70kg", "--dose", "0.5", "--concentration", "1", "--fill", "50"]
WHOLE = ["--file", str(ROOT / "config/prescription.toml"), "--weight-again", "70kg"]
NAMES = {"--help", "-h", "--version", "--install-completion"}


def commands(of: App, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name in of:
        if name not in NAMES:
            yield (*path, name)
            yield from commands(of[name], (*path, name))


@pytest.mark.parametrize("path", list(commands(app)), ids=" ".join)
def test_every_command_has_help_with_an_example(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert call([*path, "--help"]) == DONE
    said = " ".join(capsys.readouterr().out.split())
    if path != ("session",):
        assert f"pumpd {' '.join(path)}" in said.replace("Usage: pumpd", "")


def examples() -> list[str]:
    return re.findall(r"^    (pumpd .*)$", (ROOT / "docs/commands.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("line", examples())
def test_the_examples_of_the_page_are_understood(line: str) -> None:
    if "--install-completion" in line:
        assert "--install-completion" in app
        return
    command, _, _ = app.parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)
    assert command is not None


def test_the_page_names_every_command() -> None:
    page = (ROOT / "docs/commands.md").read_text()
    missing = [path for path in commands(app) if f"pumpd {' '.join(path)}" not in page]
    assert not missing


def test_every_item_of_the_checklist_is_asked_in_words() -> None:
    assert set(CHECKS) == set(CHECKLIST)


def test_the_disclaimer_is_the_daemons() -> None:
    assert NOT_CERTIFIED == DISCLAIMER


# --- plan -----------------------------------------------------------------------------------------------------------


def test_a_plan_shows_its_limits_and_what_the_watchdog_could_still_give(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["plan", "--driver", "newera", *USUAL]) == DONE
    said = " ".join(capsys.readouterr().out.split())
    assert "ketamine 35 mg in 35 mL: 70 kg, 1 mg/mL, BD 60 mL (26.59 mm)" in said
    assert "within 0.4 to 0.6" in said
    assert "within 10 s; until then it could still give 0.13 mL, 0.13 mg" in said  # 46.66 mL/h x 10 s, rounded up
    assert "this plan stands within the limits" in said


@pytest.mark.shows("H48")
def test_a_refused_plan_ends_with_one_and_names_all_that_refuses_it(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--weight", "70kg", "--dose", "1.2", "--concentration", "5", "--fill", "50", "--json"]
    assert call(["plan", "--driver", "newera", *words]) == REFUSED
    told = json.loads(capsys.readouterr().out)
    assert {"dose by weight", "concentration"} <= set(told["refused_by"])
    levels = {limit["name"]: limit["level"] for limit in told["limits"]}
    assert (levels["dose by weight"], levels["weight"]) == ("hard", "met")


@pytest.mark.shows("H27")
def test_a_soft_limit_is_passed_by_a_named_person_with_a_reason_only(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "--driver", "newera", "--weight", "70kg", "--dose", "0.65", "--concentration", "1", "--fill", "60"]
    hint = "pass it with --override-by NAME --override-reason WORDS"
    assert call(words) == REFUSED
    assert hint in capsys.readouterr().out
    assert call(["5" if word == "1" else word for word in words]) == REFUSED  # a hard limit: nobody passes it
    assert hint not in capsys.readouterr().out
    assert call([*words, "--override-by", "Dr A"]) == USAGE
    assert call([*words, "--override-by", "Dr A", "--override-reason", "third session"]) == DONE
    assert "soft" in capsys.readouterr().out


def test_steps_are_planned_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    steps = ["--step", "15:50", "--step", "30:50%", "--json"]
    assert call(["plan", "--driver", "newera", *USUAL, *steps]) == DONE
    rates = [step["rate_ml_h"] for step in json.loads(capsys.readouterr().out)["steps"]]
    assert rates == [70, 35]
    assert call(["plan", "--driver", "newera", *USUAL, "--step", "15"]) == USAGE


def test_a_whole_prescription_is_judged_on_paper(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["plan", "--driver", "newera", *WHOLE]) == DONE
    said = " ".join(capsys.readouterr().out.split())
    assert "weight 70 kg and again 70 kg" in said
    assert "first session of this patient: the one who plans and C. Weber" in said
    assert re.search("drug library 2026-11-example, sha256 [0-9a-f]{16}", said)
    assert "not judged" not in said
    assert call(["plan", "--driver", "newera", *WHOLE[:3], "71kg"]) == REFUSED
    assert "REFUSED by: weight twice" in " ".join(capsys.readouterr().out.split())


def test_on_paper_it_is_said_that_nothing_was_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["plan", "--driver", "newera", *USUAL]) == DONE
    assert "was not given, so it was not judged" in " ".join(capsys.readouterr().out.split())


ANSWERS = [
    "--weight-again", "154lb", "--drug-mg", "50", "--final-ml", "50", "--age", "unknown", "--sex", "other",
    "--liver", "not done", "--other-drugs", "ssri, opioid", "--psychiatric", "not done", "--bp", "not measured",
    "--hr", "71", "--spo2", "not measured", "--session-number", "11", "--days-since-last", "1",
]  # fmt: skip


def test_each_option_is_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["plan", "--driver", "newera", *USUAL, *ANSWERS, "--json"]) == REFUSED
    told = json.loads(capsys.readouterr().out)
    assert set(told["refused_by"]) == {
        "first session", "age and sex", "liver tests", "other drugs", "psychiatric evaluation", "baseline vitals",
        "session number", "days since last", "journal",
    }  # fmt: skip
    texts = {limit["name"]: limit["text"] for limit in told["limits"]}
    assert texts["baseline vitals"].startswith("baseline vitals: blood pressure, SpO2 not measured")
    assert texts["weight twice"] == "weight 70 kg and again 154 lb"
    assert "opioid flagged" in texts["other drugs"]


def test_how_to_pass_is_said_for_what_can_be_passed(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["plan", "--driver", "newera", *USUAL, *ANSWERS]) == REFUSED
    said = capsys.readouterr().out
    assert "--second-person NAME" in said
    assert "--override-by NAME" in said


def test_a_file_says_when_and_by_whom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "config/prescription.toml").read_text()
    late = tmp_path / "late.toml"
    late.write_text(text.replace("2026-01-12T08:00:00Z", "2926-01-12T08:00:00Z"))
    assert call(["plan", "--driver", "newera", "--file", str(late), *WHOLE[2:]]) == REFUSED
    assert "checks.liver.at: 2926-01-12T08:00:00.000Z is after the request" in " ".join(capsys.readouterr().err.split())
    naked = tmp_path / "naked.toml"
    naked.write_text(text.replace("2026-01-12T08:00:00Z", "2026-01-12T08:00:00"))
    assert call(["plan", "--driver", "newera", "--file", str(naked), *WHOLE[2:]]) == REFUSED
    assert "has no time zone" in " ".join(capsys.readouterr().err.split())


def test_a_pump_without_watchdog_is_said_to_run_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = written(tmp_path, settings='[bed.one.pump.settings]\nmode = "basic"\n')
    assert call(["plan", "--config", str(config), *USUAL]) == DONE
    assert "no watchdog" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["plan", *USUAL], "one of --config FILE and --driver NAME", USAGE),
        (
            ["plan", "--driver", "nobody", *USUAL],
            "is installed; there are alaris, bbraun, fresenius, harvard, newera, zyno",
            REFUSED,
        ),
        (["plan", "--driver", "newera", "--weight", "heavy", *USUAL[2:]], "--weight heavy: expected a weight", USAGE),
        (["plan", "--driver", "newera", "--weight", "70", *USUAL[2:]], "with its unit, such as 70kg", USAGE),
        (["plan", "--driver", "newera", *USUAL[2:]], "--weight: missing", REFUSED),
        (["plan", "--driver", "newera", *USUAL, "--liver", "normal"], "--psychiatric: missing", REFUSED),
        (["plan", "--driver", "newera", *USUAL, "--file", "/nowhere.toml"], "/nowhere.toml", USAGE),
        (["plan", "--driver", "newera", *WHOLE, "--fill", "50"], "--fill: ", USAGE),
        (["session", "container", "one"], "--fill: missing", USAGE),
        (["plan", "--driver", "newera", *USUAL, "--make", "Nobody"], "not in the syringe table", REFUSED),
        (["plan", "--driver", "newera", *USUAL, "--drug", "aspirin"], "not in the drug library", REFUSED),
        (["plan", "--driver", "newera", *USUAL, "--dose-mg", "30"], "give one of dose_mg_per_kg and dose_mg", REFUSED),
        (["session", "start"], "BED", USAGE),
        (["nonsense"], "nonsense", USAGE),
        (["session", "status", "--socket", "/nowhere/pumpd.sock"], "no daemon at the local socket", NO_DAEMON),
        (["session", "status", "--station", "x"], "--station goes together with --bus", USAGE),
        (["replay"], "one of --journal FILE and --config FILE", USAGE),
        (["replay", "--journal", "/nowhere/journal.sqlite3"], "no journal at", REFUSED),
        (["run", "--config", "/nowhere/pumpd.toml"], "/nowhere/pumpd.toml", USAGE),
    ],
)
def test_mistakes_are_told_in_words(words: list[str], said: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(words) == code
    told = capsys.readouterr()
    assert said in " ".join(told.err.replace("│", " ").split())
    assert "Traceback" not in told.err


def test_the_socket_is_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PUMPD_SOCKET", "/from/the/environment.sock")
    assert call(["stop", "one"]) == NO_DAEMON
    assert "/from/the/environment.sock" in capsys.readouterr().err


# --- check-config and drivers ---------------------------------------------------------------------------------------


def written(folder: Path, extra: str = "", settings: str = "") -> Path:
    path = folder / "pumpd.toml"
    path.write_text(
        '[station]\nid = "here"\ndata_dir = "."\n'
        f'[bed.one]\n{extra}[bed.one.pump]\ndriver = "newera"\nport = "/tmp/pump"\nsimulated = true\n{settings}'
    )
    return path


def test_a_good_configuration_is_summed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["check-config", str(written(tmp_path, "speed = 60\n"))]) == DONE
    said = capsys.readouterr().out
    assert "no problems" in " ".join(said.split())
    assert "SIMULATED, 60x" in said


def test_every_problem_of_a_configuration_has_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = written(tmp_path, 'speed = 0\nrestore = "often"\n')
    assert call(["check-config", str(config)]) == REFUSED
    lines = capsys.readouterr().err.splitlines()
    assert any("speed" in line for line in lines)
    assert any("restore" in line for line in lines)
    config = written(tmp_path, settings='[bed.one.pump.settings]\nmode = "wild"\n')
    assert call(["check-config", str(config)]) == REFUSED
    assert "[bed.one.pump] settings.mode: 'wild'" in capsys.readouterr().err


def test_the_files_problems_and_the_drivers_come_in_one_round(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = written(tmp_path, "speed = 0\n", '[bed.one.pump.settings]\nmode = "wild"\n')
    assert call(["check-config", str(config)]) == REFUSED
    said = capsys.readouterr().err
    assert "speed" in said
    assert "settings.mode: 'wild'" in said
    assert all(str(config) in line for line in said.splitlines())
    config.write_text("[station\n")
    assert call(["check-config", str(config)]) == REFUSED
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_broken_driver_is_named_with_its_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    points = [
        EntryPoint("newera", "drivers.newera:DRIVER", registry.GROUP),
        EntryPoint("acme", "no_such_module:DRIVER", registry.GROUP),
    ]
    monkeypatch.setattr(setup, "find_drivers", lambda: registry.find_drivers(points))
    assert call(["drivers"]) == REFUSED
    told = capsys.readouterr()
    assert "New Era" in told.out
    assert "acme: broken: no_such_module:DRIVER: ModuleNotFoundError" in " ".join(told.err.split())


# --- how a bed looks ------------------------------------------------------------------------------------------------

SESSION: dict[str, Any] = {
    "bed": "one", "pump": "p", "boot_id": "b1", "session_id": "s", "phase": "running", "sight": "seeing",
    "drug": "ketamine", "dose_mg": 35, "volume_ml": 35, "duration_s": Decimal(2700), "hold_reason": None,
    "simulated": True, "laboratory": True, "delivered_ml": Decimal("17.1"), "delivered_mg": Decimal("8.55"),
    "steps": [{"rate_ml_h": Decimal("46.66"), "duration_s": 2700, "volume_ml": 35}],
}  # fmt: skip
TELEMETRY: dict[str, Any] = {
    "valid_for_ms": 5000, "state": "infusing", "rate_plan_ml_h": Decimal("46.66"), "rate_read_ml_h": Decimal("46.6"),
    "volume_plan_ml": Decimal("17.5"), "volume_pump_ml": Decimal("17.1"), "volume_integrated_ml": None,
    "elapsed_s": Decimal(1350), "remaining_s": Decimal(1350), "remaining_origin": "plan",
}  # fmt: skip
ALARM: dict[str, Any] = {
    "bed": "one", "alarm_id": "one-1", "priority": "high", "text": "Line occluded", "condition": "present",
    "acked_by": None, "session_id": "s", "code": "stopped_at_pump", "action_key": "action.stopped_at_pump",
}  # fmt: skip


def picture(alarms: tuple[dict[str, Any], ...] = (ALARM,), **changes: Any) -> Picture:
    seen = Picture()
    seen.take("pump/p/session", SESSION | changes, 100.0)
    seen.take("pump/p/telemetry", TELEMETRY, 100.0)
    seen.take("pump/p/connection", {"state": "ready"}, 100.0)
    seen.take("alarms", {"revision": 4, "active": list(alarms), "omitted": 0}, 100.0)
    seen.take("heartbeat", {"boot_id": "b1", "alarms_revision": 4}, 100.0)
    return seen


def drawn(what: RenderableType) -> str:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115  # closed below
    console.print(what)
    console.file.close()
    return console.export_text()


@pytest.mark.shows("S14", "H34")
def test_a_bed_shows_time_rates_volumes_alarms_and_its_marks() -> None:
    said = drawn(station(picture(), 100.5))
    for words in (
        "RUNNING", "pump infusing", "22:30 left", "46.66 mL/h", "46.60 mL/h", "17.50 mL", "17.10 mL", "HIGH",
        "Line occluded", "one-1", "SIMULATED", "LABORATORY", "ketamine 35 mg in 35 mL over 45 min",
        "no certified medical device",
    ):  # fmt: skip
        assert words in said
    assert "unknown" in said  # the volume that is null


@pytest.mark.shows("S7", "H52")
@pytest.mark.parametrize(("age_s", "stale"), [(2.9, False), (3.1, True)])
def test_without_a_heartbeat_for_three_seconds_all_is_stale(age_s: float, stale: bool) -> None:
    said = drawn(station(picture(), 100.0 + age_s))
    assert ("STALE" in said) is stale
    assert ("46.60 mL/h" in said) is not stale  # no last value stands as if it were current
    assert ("time left unknown" in said) is stale


@pytest.mark.shows("S7", "H34")
def test_telemetry_that_is_too_old_is_unknown_though_the_daemon_lives() -> None:
    seen = picture()
    seen.take("heartbeat", {"boot_id": "b1", "alarms_revision": 4}, 105.0)
    said = drawn(station(seen, 105.1))
    assert "STALE" not in said
    assert "46.60" not in said
    assert "pump unknown" in said


def test_what_an_earlier_daemon_left_on_the_broker_is_last_known_only() -> None:
    said = drawn(station(picture(boot_id="b0"), 100.0))
    assert "from an earlier start" in said
    assert "46.60" not in said


def test_an_alarm_list_that_lags_behind_the_heartbeat_is_said_to_be_incomplete() -> None:
    seen = picture()
    assert "may be incomplete" not in drawn(station(seen, 100.0))
    for second in (100.0, 101.0, 102.0):
        seen.take("heartbeat", {"boot_id": "b1", "alarms_revision": 5}, second)
    assert "may be incomplete" not in drawn(station(seen, 102.0))  # the list is on its way
    assert "may be incomplete" in drawn(station(seen, 102.1))
    seen.take("alarms", {"revision": 5, "active": [], "omitted": 0}, 102.2)
    assert "may be incomplete" not in drawn(station(seen, 104.9))


@pytest.mark.parametrize("phase", ["ending", "observing", "ended", "aborted"])
def test_after_the_session_only_what_was_delivered_stands(phase: str) -> None:
    said = drawn(station(picture(phase=phase), 100.5))
    assert "delivered in this session  17.10 mL  8.55 mg" in said
    assert "planned" not in said
    assert "17.50" not in said  # the planned volume, which nobody may chart
    said = drawn(station(picture(phase=phase, delivered_ml=None, delivered_mg=None), 100.5))
    assert "delivered in this session  unknown" in said


@pytest.mark.parametrize("phase", ["planned", "armed"])
def test_before_the_start_the_first_steps_rate_is_named(phase: str) -> None:
    assert "then 46.66 mL/h" in drawn(station(picture(phase=phase), 100.5))
    assert "then" not in drawn(station(picture(), 100.5))


def test_an_alarm_that_is_over_says_so_first_and_stands_below_those_that_are_not() -> None:
    gone = ALARM | {"text": "Rate above plan", "condition": "gone", "alarm_id": "one-2"}
    lines = [line.strip("│ ") for line in drawn(station(picture((gone, ALARM)), 100.5)).splitlines()]
    (over,) = [line for line in lines if "Rate above plan" in line]
    assert over.startswith("OVER: Rate above plan")
    assert lines.index(over) > next(i for i, line in enumerate(lines) if "Line occluded" in line)


@pytest.mark.shows("H21")
def test_a_high_alarm_says_what_to_do_while_it_is_present() -> None:
    action = CATALOGUE["stopped_at_pump"].action
    assert action in drawn(station(picture(), 100.5))
    for changes in (
        {"condition": "gone"},
        {"priority": "medium"},
        {"code": "of-a-later-version"},
        {"action_key": None},
    ):
        assert action not in drawn(station(picture((ALARM | changes,)), 100.5))


@pytest.mark.shows("H21")
@pytest.mark.parametrize(("priority", "sign"), [("high", "!!! HIGH"), ("medium", "!! MEDIUM"), ("low", "! LOW")])
def test_a_priority_is_told_by_a_symbol_and_a_word(priority: str, sign: str) -> None:
    line = alarm_line(ALARM | {"priority": priority}).plain
    assert line.startswith(f" {sign}  Line occluded")


@pytest.mark.shows("H31")
def test_what_somebody_took_from_an_alarm_is_shown() -> None:
    taken = ALARM | {"priority": "low", "inactivated_by": "nurse-1"}
    silent = alarm_line(taken | {"inactivation": "audio-off"}).plain
    assert silent.startswith(" ! LOW ")
    assert "audio-off by nurse-1" in silent
    hidden = alarm_line(taken | {"inactivation": "alarm-paused"}).plain
    assert hidden.startswith("(hidden) ! low: Line occluded  alarm-paused by nurse-1")


def test_the_list_of_alarms_tells_why_what_to_do_since_when_and_how_often() -> None:
    alarm = ALARM | {"priority": "medium", "count": 3, "order": 17, "first_ts": "2026-11-23T19:27:59.136Z"}
    entry, said = CATALOGUE["stopped_at_pump"], alarm_details(alarm | {"until": "2026-11-23T19:29:59.136Z"}).plain
    assert f"because: {entry.cause}" in said
    assert f"to do: {entry.action}" in said
    assert f"no. 17, since {here(alarm['first_ts'])}, 3 times" in said
    assert f"silent until {here('2026-11-23T19:29:59.136Z')}" in said
    assert "until" not in alarm_details(alarm).plain


def test_an_alarm_of_another_session_is_told_from_those_of_the_present_one() -> None:
    assert "earlier session" not in drawn(station(picture(), 100.5))
    assert "of an earlier session" in drawn(station(picture((ALARM | {"session_id": "r"},)), 100.5))
    assert "earlier session" not in drawn(station(picture((ALARM | {"session_id": None},)), 100.5))


def test_the_end_of_a_silence_is_told_by_the_clock_on_the_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XXX-5:30")
    time.tzset()
    try:
        assert here("2026-11-23T19:27:59.136Z") == "00:57"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_lost_link_and_a_bed_without_session_are_shown() -> None:
    seen = picture(session_id=None, phase=None, drug=None)
    seen.take("pump/p/connection", {"state": "lost"}, 100.0)
    said = drawn(station(seen, 100.0))
    assert "NO SESSION" in said
    assert "link lost" in said


def test_a_picture_too_narrow_for_nothing() -> None:
    lines = drawn(station(picture(), 100.0)).splitlines()
    assert max(len(line) for line in lines) <= 80


def test_a_wrong_configuration_ends_with_the_code_that_no_service_manager_tries_again(
    tmp_path: Path,
) -> None:
    config = tmp_path / "pumpd.toml"
    config.write_text("[station]\n")
    assert call(["run", "--config", str(config)]) == USAGE
    unit = (Path(__file__).parents[2] / "config" / "pumpd.service").read_text()
    assert f"RestartPreventExitStatus={USAGE}\n" in unit
