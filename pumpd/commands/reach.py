"""How a command reaches a daemon: the local socket of this machine, else the bus. And who is asking."""

from __future__ import annotations

import asyncio
import getpass
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

from cyclopts import Parameter

from pumpd import config as cfg
from pumpd.commands.picture import Picture
from pumpd.messaging.bus_client import BusClient
from pumpd.messaging.local import LocalClient
from pumpd.messaging.requests import STOPPING

T = TypeVar("T")

DONE, REFUSED, USAGE, NO_DAEMON = 0, 1, 2, 3  # what the process ends with; documented in docs/commands.md
SOCKET_VARIABLE = "PUMPD_SOCKET"
USUAL_SOCKETS = (Path("/run/pumpd/pumpd.sock"), Path("/var/lib/pumpd/pumpd.sock"))  # service unit; example's data_dir
LOOK_S = 5.0  # wire seconds; the state is there at once and a heartbeat comes every second: beyond it nobody speaks
ANSWER_S = 20.0  # wire seconds; arming sounds the annunciator and sets and reads back a slow pump
AT_THE_PUMP = "STOP AT THE PUMP"  # first in all that is said when a stop or a pause may not have been done
SILENT = "the daemon is there but says nothing: it hangs or is stopped; watch the pump itself"


class Failed(Exception):
    """A command that did not do what was asked; the text says why, `code` is the process's exit code."""

    def __init__(self, text: str, code: int = REFUSED) -> None:
        super().__init__(text)
        self.code = code


@contextmanager
def else_at_the_pump() -> Iterator[None]:
    """Around a stop or a pause: whatever fails, where the pump can be stopped is said first."""
    try:
        yield
    except Failed as failure:
        raise Failed(f"{AT_THE_PUMP}\n{failure}", failure.code) from None


class Client(Protocol):
    """One conversation with a daemon, by socket or bus."""

    def request(self, verb: str, fields: Mapping[str, object]) -> AsyncIterator[dict[str, Any]]:
        """Send one request and give its answers, the final one last."""

    def subscribe(self, *filters: str) -> AsyncIterator[tuple[str, dict[str, Any] | None]]:
        """Give topic and message, the present retained ones first; None says the topic was emptied."""


@Parameter(name="*", group="Which daemon")
@dataclass(frozen=True)
class Where:
    """Where the daemon is. Left out: $PUMPD_SOCKET, else the socket of a usual installation."""

    config: Path | None = None
    "The daemon's configuration file; it names the local socket."
    socket: Path | None = None
    "The daemon's local socket."
    bus: str | None = None
    "A broker, mqtt://host:port; needs --station."
    station: str | None = None
    "The station's name on the bus."

    def reach(self) -> Reach:
        """The way to the daemon. Raises Failed."""
        if self.bus is not None:
            if self.station is None:
                raise Failed("--bus needs --station: one broker may serve many stations", USAGE)
            return _by_bus(self.bus, self.station)
        if self.station is not None:
            raise Failed("--station goes together with --bus", USAGE)
        return Reach(f"the local socket {self._socket()}", lambda: LocalClient(self._socket()))

    def _socket(self) -> Path:
        if self.socket is not None:
            return self.socket
        if self.config is not None:
            return read_config(self.config).socket
        if told := os.environ.get(SOCKET_VARIABLE):
            return Path(told)
        return next((path for path in USUAL_SOCKETS if path.exists()), USUAL_SOCKETS[0])


@Parameter(name="*", group="Who is asking")
@dataclass(frozen=True)
class Who:
    """Who gives the order. Recorded with it."""

    role: str = "nurse"
    "nurse, prescriber or technician; a pause over 15 minutes needs a prescriber to resume."
    actor: str | None = None
    "Who you are; left out: the login name."

    @property
    def fields(self) -> dict[str, object]:
        """As a request carries it."""
        return {"actor": self.actor or _login(), "role": self.role, "origin": "pumpd-command"}


ANYWHERE, NURSE = Where(), Who()


def read_config(path: Path) -> cfg.Config:
    """The configuration, or Failed with each problem on its line."""
    try:
        return cfg.load(path)
    except cfg.ConfigError as error:
        raise Failed("\n".join(error.problems)) from None


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return f"uid {os.getuid()}"


def _by_bus(url: str, station: str) -> Reach:
    try:
        BusClient(url, station)
    except ValueError as error:
        raise Failed(f"--bus: {error}", USAGE) from None
    return Reach(f"station {station} at {url}", lambda: BusClient(url, station))


class Reach:
    """Opens conversations with one daemon; each has a connection of its own."""

    def __init__(self, words: str, connect: Callable[[], AbstractAsyncContextManager[Client]]) -> None:
        self.words = words
        self._connect = connect

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Client]:
        """Raise Failed when nobody is there, or when the daemon goes while we talk."""
        try:
            async with self._connect() as client:
                yield client
        except PermissionError:
            raise Failed(f"{self.words}: no permission; ask to be put into the group that owns it", NO_DAEMON) from None
        except OSError as error:  # a missing file, a refused connection, a broken one
            self._nobody(error)

    def _nobody(self, error: OSError) -> NoReturn:
        advice = "is `pumpd run` running? Name its socket with --socket or --config, or its broker with --bus"
        raise Failed(f"no daemon at {self.words} ({error.strerror or error}): {advice}", NO_DAEMON) from None

    async def look(self, enough: Callable[[Picture], bool]) -> Picture:
        """Listen until the picture is `enough`. Raises Failed when nobody speaks within LOOK_S."""
        picture = Picture()
        try:
            async with asyncio.timeout(LOOK_S), self.open() as client, aclosing(_stream(client)) as messages:
                async for topic, message in messages:
                    picture.take(topic, message, asyncio.get_running_loop().time())
                    if enough(picture):
                        break
        except TimeoutError:
            if not picture.sessions:
                raise Failed(f"{self.words}: {SILENT}", NO_DAEMON) from None
        return picture

    async def ask(
        self, verb: str, fields: Mapping[str, object], told: Callable[[dict[str, Any]], None] = lambda _: None
    ) -> dict[str, Any]:
        """Send one request; `told` hears every answer, the final one is given back. Raises Failed without one."""
        last: dict[str, Any] = {}
        async with self.open() as client, aclosing(_answers(client, verb, fields)) as answers:
            while last.get("state") in (None, "accepted", "started", "unknown"):
                try:
                    last = await within(ANSWER_S, anext(answers))
                except OSError:  # no answer in time (TimeoutError is one), or the daemon went away
                    raise Failed(f"{verb}: {_unanswered(verb, last)}", NO_DAEMON) from None
                told(last)
        return last


def _stream(client: Client) -> Any:
    return client.subscribe("+", "pump/+/+")


def _answers(client: Client, verb: str, fields: Mapping[str, object]) -> Any:
    return client.request(verb, fields)


async def within(seconds: float, answer: Awaitable[T]) -> T:
    """Wait so long and no longer. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        return await answer


def _unanswered(verb: str, last: Mapping[str, Any]) -> str:
    heard = f"the last word was {last['state']!r}" if last else "no answer came"
    advice = "" if verb in STOPPING else ": look at the pump before you order again"
    return f"{heard}; whether it was done is not known{advice}"
