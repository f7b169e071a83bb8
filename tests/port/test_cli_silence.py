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
from pumpd.commands.reach import NO_DAEMON

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
    assert "STOP AT THE PUMP" in said


def test_an_order_that_was_only_accepted_is_not_called_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with daemon(tmp_path / "s", {"state": "accepted"}, {"state": "unknown"}, hangs=False) as heard:
        assert call(["session", "pause", "one", "--socket", str(tmp_path / "s")]) == NO_DAEMON
    order = json.loads(heard[0])
    assert (order["verb"], order["session_id"]) == ("session.pause", "s")
    assert "expected_revision" not in order  # a pause is never too late
    said = capsys.readouterr().err
    assert "UNKNOWN" in said
    assert "the last word was 'unknown'" in said
