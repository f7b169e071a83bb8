from __future__ import annotations

import io
import json
import logging
import threading

import pytest
import structlog

from pumpd import log


def lines(out: io.StringIO) -> list[dict[str, object]]:
    log.close()
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_in_service_a_line_is_json_with_fields_and_a_time() -> None:
    log.set_up(stream=(out := io.StringIO()))
    structlog.get_logger().warning("link.reply_missing", port="left", attempt=2)
    (line,) = lines(out)
    assert {"event": "link.reply_missing", "level": "warning", "port": "left", "attempt": 2}.items() <= line.items()
    assert str(line["timestamp"]).endswith("Z")


def test_what_libraries_log_takes_the_same_form() -> None:
    log.set_up(stream=(out := io.StringIO()))
    logging.getLogger("somebody").warning("odd %s", "thing")
    logging.getLogger("somebody").info("chatter")
    (line,) = lines(out)
    assert (line["event"], line["level"]) == ("odd thing", "warning")


def test_a_level_silences_what_is_below_it() -> None:
    log.set_up("warning", stream=(out := io.StringIO()))
    structlog.get_logger().info("quiet")
    structlog.get_logger().error("loud")
    assert [line["event"] for line in lines(out)] == ["loud"]


def test_a_traceback_is_told_without_the_values_of_variables() -> None:
    log.set_up(stream=(out := io.StringIO()))
    patient_ref = "secret-4711"
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        structlog.get_logger().exception("bed.failed")
    (line,) = lines(out)
    assert "RuntimeError" in json.dumps(line)
    assert patient_ref not in json.dumps(line)


def test_pretty_is_for_people() -> None:
    log.set_up(form="pretty", stream=(out := io.StringIO()))
    structlog.get_logger().warning("link.reply_missing", port="left")
    log.close()
    assert "link.reply_missing" in out.getvalue()
    assert not out.getvalue().startswith("{")


class Frozen(io.StringIO):
    """A terminal that takes nothing until it is thawed."""

    def __init__(self) -> None:
        super().__init__()
        self.thawed = threading.Event()

    def write(self, text: str) -> int:
        self.thawed.wait()
        return super().write(text)


@pytest.mark.shows("S9", "S13")
def test_a_frozen_terminal_holds_nobody_up_and_what_was_lost_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MOST_WAITING", 5)
    log.set_up("info", "json", out := Frozen())
    for number in range(20):
        structlog.get_logger().info("tick", number=number)
    out.thawed.set()
    while log._sink and log._sink._lines:
        pass
    structlog.get_logger().info("after")
    told = lines(out)
    assert told[-1]["event"] == "after"
    assert told[-2]["event"] == "log.lines_dropped"
    assert len(told) - 2 + int(str(told[-2]["lines"])) == 20


def test_a_reader_that_is_gone_stops_nothing() -> None:
    log.set_up("info", "json", out := io.StringIO())
    out.close()
    structlog.get_logger().info("into the void")
    log.close()
