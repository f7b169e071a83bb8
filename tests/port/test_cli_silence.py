"""An order whose answer never comes: the person must hear what that means."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pumpd.cli import call
from pumpd.commands import reach
from pumpd.commands.reach import DONE, NO_DAEMON, REFUSED

SESSION = {"bed": "one", "pump": "one-pump", "session_id": "s", "revision": 3, "phase": "running", "boot_id": "b"}
SHOWN = {"topic": "pump/one-pump/session", "payload": SESSION}


@contextmanager
def daemon(path: Path, *last_words: dict[str, str], hangs: bool) -> Iterator[list[bytes]]:
    """Shows a session to the first caller; hears the second one's order, says `last_words`, then hangs or dies."""
    heard: list[bytes] = []
    done = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            looking, _ = listener.accept()
            with looking:
                looking.recv(65536)
                looking.sendall(json.dumps(SHOWN).encode() + b"\n")
                ordering, _ = listener.accept()
            with ordering:
                heard.append(ordering.recv(65536))
                for words in last_words:
                    ordering.sendall(json.dumps(words).encode() + b"\n")
                if hangs:
                    done.wait(20)

        thread = threading.Thread(target=serve)
        thread.start()
        yield heard
        done.set()
        thread.join(20)


@pytest.mark.shows("S7", "H11")
@pytest.mark.parametrize("hangs", [True, False])
def test_a_stop_without_an_answer_sends_the_person_to_the_pump(
    hangs: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "ANSWER_S", 0.3)
    with daemon(tmp_path / "s", hangs=hangs) as heard:
        assert call(["stop", "one", "--socket", str(tmp_path / "s")]) == NO_DAEMON
    assert json.loads(heard[0])["args"] == {"bed": "one", "pump": "one-pump"}
    said = capsys.readouterr().err
    assert "no answer came" in said
    assert said.startswith("pumpd: STOP AT THE PUMP\n")


@pytest.mark.shows("S4")
def test_an_order_that_was_only_accepted_is_not_called_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with daemon(tmp_path / "s", {"state": "accepted"}, {"state": "unknown"}, hangs=False) as heard:
        assert call(["session", "pause", "one", "--socket", str(tmp_path / "s")]) == NO_DAEMON
    order = json.loads(heard[0])
    assert (order["verb"], order["session_id"]) == ("session.pause", "s")
    assert "expected_revision" not in order  # a pause is never too late
    said = capsys.readouterr().err
    assert said.startswith("STOP AT THE PUMP\nUNKNOWN")  # at once, while the answer is still waited for
    assert "pumpd: STOP AT THE PUMP\npumpd: session.pause: the last word was 'unknown'" in said


def test_a_stop_that_the_pump_answers_later_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with daemon(tmp_path / "s", {"state": "unknown"}, {"state": "done"}, hangs=False):
        assert call(["session", "stop", "one", "--socket", str(tmp_path / "s")]) == DONE
    told = capsys.readouterr()
    assert told.err.startswith("STOP AT THE PUMP\n")
    assert "done" in told.out


def test_json_leaves_the_warning_on_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with daemon(tmp_path / "s", {"state": "unknown"}, {"state": "failed"}, hangs=False):
        assert call(["stop", "one", "--json", "--socket", str(tmp_path / "s")]) == REFUSED
    told = capsys.readouterr()
    assert told.err == "STOP AT THE PUMP\n" * 2
    assert json.loads(told.out) == {"state": "failed"}


@pytest.mark.parametrize("words", [["stop"], ["session", "stop"], ["session", "pause"]])
def test_a_stop_with_nobody_to_tell_sends_the_person_to_the_pump(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call([*words, "one", "--socket", str(tmp_path / "none")]) == NO_DAEMON
    assert capsys.readouterr().err.startswith("pumpd: STOP AT THE PUMP\npumpd: no daemon at")


def test_a_refused_stop_says_that_it_did_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with daemon(tmp_path / "s", {"state": "rejected", "reason": "wrong_phase", "text": "no"}, hangs=False):
        assert call(["session", "pause", "one", "--socket", str(tmp_path / "s")]) == REFUSED
    assert capsys.readouterr().err.startswith("STOP AT THE PUMP if it moves: this order was not carried out\nrefused")
