"""The log: events with fields. JSON lines in service, readable on a terminal; always on stderr, never the journal.

Lines are written by a thread of their own, so that a full pipe or a frozen terminal never holds up a pump (S9).
Tracebacks carry no local variables: these would put patients' figures into the log.
"""

from __future__ import annotations

import atexit
import logging
import sys
import threading
from collections import deque
from typing import Literal, TextIO, TypeAlias

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import Processor

Level: TypeAlias = Literal["debug", "info", "warning", "error"]
Form: TypeAlias = Literal["auto", "json", "pretty"]
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
MOST_WAITING = 10_000  # lines kept while nobody reads them, about 3 MB; what comes after is counted and said
LAST_WORDS_S = 1.0  # how long the end of the process waits for the last lines


class Sink:
    """A stream whose writing never waits."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: deque[str] = deque()
        self._wake, self._closing = threading.Event(), threading.Event()
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, text: str) -> None:
        """Hand on text to be written."""
        if len(self._lines) >= MOST_WAITING:
            self._dropped += 1
            return
        if self._dropped:
            self._lines.append(f'{{"event": "log.lines_dropped", "level": "warning", "lines": {self._dropped}}}\n')
            self._dropped = 0
        self._lines.append(text)
        self._wake.set()

    def flush(self) -> None:
        """Nothing: the thread flushes."""

    def close(self) -> None:
        """Give the thread a moment for what is left."""
        self._closing.set()
        self._wake.set()
        self._thread.join(LAST_WORDS_S)

    def _run(self) -> None:
        while not self._closing.is_set() or self._lines:
            self._wake.wait()
            self._wake.clear()
            try:
                while self._lines:
                    self._stream.write(self._lines.popleft())
                self._stream.flush()
            except (OSError, ValueError):  # the reader is gone; a log nobody reads stops nothing
                self._lines.clear()


_sink: Sink | None = None


def set_up(level: Level = "info", form: Form = "auto", stream: TextIO | None = None) -> None:
    """Configure structlog and the standard library's logging for the whole process; "auto" is pretty on a terminal."""
    global _sink  # noqa: PLW0603  # the log is one for the process, as structlog's own configuration is
    close()
    out = stream or sys.stderr
    _sink = sink = Sink(out)
    last = _rendering(form == "pretty" or (form == "auto" and out.isatty()), out.isatty())
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*common, *last],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(sink),  # type: ignore[arg-type]  # it only writes and flushes
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sink)  # what libraries log goes the same way
    drop_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=common, processors=[drop_meta, *last]))
    logging.basicConfig(handlers=[handler], level=max(LEVELS[level], logging.WARNING), force=True)


def close() -> None:
    """Write the last lines; `set_up` has to come first again."""
    global _sink  # noqa: PLW0603  # as above
    if _sink is not None:
        _sink.close()
        _sink = None


def _rendering(pretty: bool, colours: bool) -> list[Processor]:
    if pretty:
        return [structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback)]
    exceptions = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
    return [exceptions, structlog.processors.JSONRenderer(default=str)]


atexit.register(close)
