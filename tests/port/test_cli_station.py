"""The commands against a real daemon with a simulated pump, by socket and by bus."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from brokers import mosquitto_program
from cli_station import CHECKED, PLAN, StationProcess, running_station

from pumpd.cli import call
from pumpd.commands import orders, reach
from pumpd.commands.reach import DONE, NO_DAEMON, REFUSED, USAGE
from pumpd.commands.screen import plain
from pumpd.records.journal_file import GENESIS, Reader, row_hash

pytestmark = pytest.mark.timeout(120)
Run = Callable[..., int]


@pytest.fixture
def station(tmp_path: Path) -> Iterator[StationProcess]:
    with running_station(tmp_path) as station:
        yield station


@pytest.fixture
def run(station: StationProcess) -> Run:
    return lambda *words: call([*words, *station.here])


def status(station: StationProcess, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert call(["session", "status", "one", "--json", *station.here]) == DONE
    return dict(json.loads(capsys.readouterr().out, parse_float=Decimal)["one"])


def connected(station: StationProcess, capsys: pytest.CaptureFixture[str]) -> None:
    deadline = time.monotonic() + 20
    while status(station, capsys)["telemetry"]["state"] == "unknown":
        assert time.monotonic() < deadline


def armed(station: StationProcess, capsys: pytest.CaptureFixture[str], patient: str = "P-1") -> None:
    connected(station, capsys)
    assert call(["session", "plan", "one", "--patient", patient, *PLAN, *station.here]) == DONE
    assert call(["session", "arm", "one", "--patient", patient, "--yes", *station.here]) == DONE


def session_ids(station: StationProcess) -> list[str]:
    with Reader.open(station.journal) as reader:
        return [row[0] for row in reader.sessions()]


def test_a_session_from_plan_to_release_and_its_replay(
    station: StationProcess, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    connected(station, capsys)
    assert run("session", "plan", "one", "--patient", "P-1", *PLAN) == DONE
    what = "ketamine 35 mg in 35 mL: 70 kg, 1 mg/mL, BD 60 mL (26.59 mm)"
    said = capsys.readouterr().out
    assert "46.66 mL/h" in said
    assert what in said
    assert run("session", "arm", "one", "--patient", "P-1", "--yes") == DONE
    said = capsys.readouterr().out
    assert "the line was purged of air" in said
    assert what in said
    assert "until then it could still give 0.13 mL, 0.13 mg" in " ".join(said.split())
    assert run("session", "start", "one", "--yes") == DONE
    assert "35 mL at most" in capsys.readouterr().out  # the figures are shown even when nobody is asked
    assert status(station, capsys)["session"]["phase"] == "running"
    assert run("session", "pause", "one") == DONE
    shown = status(station, capsys)["session"]
    assert shown["phase"] == "paused"
    assert run("session", "resume", "one", "--yes") == DONE
    assert f"{plain(shown['confirm_volume_ml'])} mL at most" in capsys.readouterr().out
    assert run("session", "pause", "one") == DONE
    assert run("session", "resume", "one", "--recalculate", "--yes") == DONE
    assert status(station, capsys)["telemetry"]["rate_plan_ml_h"] >= Decimal("46.66")
    assert run("session", "stop", "one") == DONE
    assert status(station, capsys)["telemetry"]["state"] == "ended"
    assert run("session", "end", "one") == DONE
    assert run("session", "release", "one") == DONE
    assert run("session", "plan", "one", "--patient", "P-1", *PLAN) == REFUSED
    refusal = capsys.readouterr().err
    assert "session 1 is entered but the journal's last one was number 1" in refusal
    assert "0 days since the last session" in refusal
    armed(station, capsys, "P-2")  # a second session, whose record must stand without the first
    assert run("session", "start", "one", "--yes") == DONE
    assert run("stop", "one") == DONE
    assert status(station, capsys)["session"]["phase"] in ("ending", "observing")
    for session_id in session_ids(station):
        assert run("replay", session_id) == DONE
        assert "the same" in capsys.readouterr().out


def test_a_person_types_the_rate_and_only_the_right_one_starts(
    station: StationProcess, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    armed(station, capsys)
    assert run("session", "start", "one") == REFUSED  # standard input is no terminal
    assert "nobody is there to confirm" in capsys.readouterr().err
    typed = iter(["46.6", "46.66"])
    monkeypatch.setattr(orders, "ask", lambda _question: next(typed))
    assert run("session", "start", "one") == REFUSED
    assert "nothing was ordered" in capsys.readouterr().err
    assert status(station, capsys)["session"]["phase"] == "armed"
    assert run("session", "start", "one") == DONE
    assert status(station, capsys)["session"]["phase"] == "running"


def test_a_rate_lowered_at_the_keypad_is_accepted_or_restored_as_it_was_read(
    station: StationProcess, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    armed(station, capsys)
    assert run("session", "restore", "one", "--yes") == REFUSED
    assert "the rate is 0" in capsys.readouterr().err
    assert run("session", "start", "one", "--yes") == DONE
    assert station.at_the_pump(do="set_rate", ml_h=30)["ok"]
    await_rate(station, capsys, Decimal(30))
    assert run("alarms") == DONE
    assert "Rate below plan" in capsys.readouterr().out
    assert run("session", "restore", "one", "--yes") == DONE
    assert "46.66 mL/h" in capsys.readouterr().out
    assert station.at_the_pump(do="set_rate", ml_h=40)["ok"]
    await_rate(station, capsys, Decimal(40))
    assert run("session", "accept", "one", "--yes") == DONE
    assert "40 mL/h" in capsys.readouterr().out
    assert status(station, capsys)["telemetry"]["rate_plan_ml_h"] == 40


def await_rate(station: StationProcess, capsys: pytest.CaptureFixture[str], rate: Decimal) -> None:
    deadline = time.monotonic() + 20
    while status(station, capsys)["telemetry"]["rate_read_ml_h"] != rate:
        assert time.monotonic() < deadline


def test_refusals_are_said_in_words_and_end_with_one(
    station: StationProcess, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    connected(station, capsys)
    too_much = ["--weight", "70kg", "--dose", "1.5", "--concentration", "5", "--fill", "10", *CHECKED]
    assert run("session", "plan", "one", "--patient", "P-1", *too_much) == REFUSED
    told = capsys.readouterr()
    assert "dose by weight 1.5 mg/kg: above the hard limit 1.0" in told.err
    assert "concentration 5 mg/mL" in told.err
    assert "60 mg in 60 mL are 1 mg/mL, but the concentration is stated as 5 mg/mL: 5 times apart" in told.err
    assert "fill 10 mL" in told.err
    assert "--override-by" not in told.err  # nobody passes a hard limit
    assert "✗ HARD" in told.out
    soft = ["--weight", "70kg", "--dose", "0.65", "--concentration", "1", "--fill", "60", *CHECKED]
    assert run("session", "plan", "one", "--patient", "P-1", *soft) == REFUSED
    told = capsys.readouterr()
    assert "pass it with --override-by NAME --override-reason WORDS" in told.err
    assert "--second-person" not in told.err
    assert "✗ soft" in told.out
    alone = [word for word in PLAN if word not in ("--second-person", "nurse-2")]
    assert run("session", "plan", "one", "--patient", "P-1", *alone) == REFUSED
    told = capsys.readouterr()
    assert "needs two different persons: only" in told.err
    assert "name the second person with --second-person NAME" in told.err
    assert "--override-by" not in told.err
    assert run("session", "plan", "one", "--patient", "P-1", *PLAN[:8]) == REFUSED
    assert "--weight-again: missing; --drug-mg: missing" in capsys.readouterr().err
    assert run("session", "plan", "one", "--patient", "P-1", *PLAN) == DONE
    assert run("session", "arm", "one", "--patient", "P-2", "--yes") == REFUSED
    assert "wrong_patient" in capsys.readouterr().err
    assert run("session", "start", "one", "--yes") == REFUSED
    assert "start is not possible while planned" in capsys.readouterr().err
    asked = time.monotonic()
    assert run("stop", "two") == REFUSED
    assert time.monotonic() - asked < reach.LOOK_S / 2  # the beds are known at the first heartbeat
    said = capsys.readouterr().err
    assert said.startswith("pumpd: STOP AT THE PUMP\n")
    assert "'two' is no bed of this station; it has: one; nothing was stopped" in said
    assert run("session", "start", "two", "--yes") == REFUSED
    assert "it has: one; nothing was ordered" in capsys.readouterr().err
    assert run("alarms", "ack", "none-such") == REFUSED
    assert "no alarm none-such stands" in capsys.readouterr().err
    assert run("alarms", "pause", "500") == REFUSED
    assert run("alarms", "pause", "30") == DONE


def test_json_is_one_object_with_the_final_answer(
    station: StationProcess, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    connected(station, capsys)
    assert run("session", "plan", "one", "--patient", "P-1", *PLAN, "--json") == DONE
    answer = json.loads(capsys.readouterr().out)
    assert (answer["state"], answer["data"]["rate_ml_h"]) == ("done", 46.66)
    assert run("session", "pause", "one", "--json") == REFUSED
    assert json.loads(capsys.readouterr().out)["reason"] == "wrong_phase"
    assert run("alarms", "--json") == DONE
    assert isinstance(json.loads(capsys.readouterr().out)["active"], list)


def test_a_changed_row_is_found_whether_or_not_its_hashes_were_forged_too(
    station: StationProcess, run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    armed(station, capsys)
    assert run("session", "start", "one", "--yes") == DONE
    assert run("session", "stop", "one") == DONE
    station.stop()
    (session_id,) = session_ids(station)
    clumsy = shutil.copy(station.journal, tmp_path / "clumsy.sqlite3")
    tamper(clumsy, forge=False)
    assert call(["replay", session_id, "--journal", str(clumsy)]) == REFUSED
    assert "BROKEN CHAIN" in capsys.readouterr().out
    clever = shutil.copy(station.journal, tmp_path / "clever.sqlite3")
    tamper(clever, forge=True)
    assert call(["replay", session_id, "--journal", str(clever)]) == REFUSED
    said = capsys.readouterr().out
    assert "BROKEN CHAIN" not in said
    assert "DIFFERENT" in said
    assert "46.66" in said
    assert "99.99" in said


def tamper(path: Path, *, forge: bool) -> None:
    """Make the record say that another rate was ordered at the start."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("DROP TRIGGER journal_no_update")
    (seq,) = db.execute("SELECT seq FROM journal WHERE kind = 'StartOrdered'").fetchone()
    db.execute('UPDATE journal SET data = replace(data, \'"rate":"46.66\', \'"rate":"99.99\') WHERE seq = ?', (seq,))
    if forge:
        prev = GENESIS
        for row in db.execute("SELECT * FROM journal ORDER BY seq").fetchall():
            fresh = row_hash(row[0], prev, *row[3:9], bool(row[9]), row[10])
            db.execute("UPDATE journal SET hash = ?, prev_hash = ? WHERE seq = ?", (fresh, prev, row[0]))
            prev = fresh
    db.close()


def test_a_daemon_that_hangs_is_told_from_one_that_is_not_there(
    station: StationProcess, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert station.process is not None
    connected(station, capsys)
    monkeypatch.setattr(reach, "LOOK_S", 0.5)
    os.kill(station.process.pid, signal.SIGSTOP)
    try:
        assert run("session", "status") == NO_DAEMON
        assert "says nothing" in capsys.readouterr().err
    finally:
        os.kill(station.process.pid, signal.SIGCONT)
    station.stop()
    assert run("stop", "one") == NO_DAEMON
    assert "no daemon at the local socket" in capsys.readouterr().err


def test_a_second_daemon_is_told_who_holds_the_journal(station: StationProcess) -> None:
    assert station.process is not None
    second = subprocess.run(
        [sys.executable, "-m", "pumpd.cli", "run", *station.here],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert second.returncode == REFUSED
    assert f"in use by process {station.process.pid}" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_taken_socket_is_named(tmp_path: Path, station: StationProcess) -> None:
    other = tmp_path / "other"
    other.mkdir()
    config = other / "pumpd.toml"
    config.write_text(station.config.read_text() + f'[local]\nsocket = "{tmp_path}/pumpd.sock"\n')
    second = subprocess.run(
        [sys.executable, "-m", "pumpd.cli", "run", "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert second.returncode == REFUSED
    assert "another pumpd listens on the local socket" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.skipif(mosquitto_program() is None, reason="mosquitto is not installed")
def test_the_bus_commands_like_the_socket(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_station(tmp_path, bus="embedded") as station:
        armed(station, capsys)
        by_bus = ["--bus", station.broker, "--station", "bench"]
        assert call(["session", "start", "one", "--yes", *by_bus]) == DONE
        assert call(["session", "status", *by_bus]) == DONE
        said = capsys.readouterr().out
        assert "RUNNING" in said
        assert "SIMULATED" in said
        assert call(["stop", "one", *by_bus]) == DONE
        assert status(station, capsys)["telemetry"]["state"] == "ended"
        monkeypatch.setattr(reach, "LOOK_S", 0.5)
        assert call(["session", "status", "--bus", station.broker, "--station", "nobody"]) == NO_DAEMON
    assert call(["session", "status", *by_bus]) == NO_DAEMON
    assert "no daemon at station bench" in capsys.readouterr().err
    assert call(["session", "status", "--bus", "tcp://x", "--station", "bench"]) == USAGE
    assert call(["session", "status", "--bus", station.broker]) == USAGE
