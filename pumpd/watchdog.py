"""The service manager: told when the daemon is ready, how it stands, and that it lives while every bed makes progress.

The protocol is systemd's sd_notify: lines of NAME=value, in one datagram to the Unix socket that $NOTIFY_SOCKET names.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress

from pumpd.bedside.ward import Ward
from pumpd.clock import Clock
from pumpd.core.state import Sight


class ServiceManager:
    """Tells, and neither waits nor fails: without a manager, or with one that does not listen, nothing happens."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self.watchdog_s = _watchdog_s(environment)
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    def tell(self, *lines: str) -> None:
        """Send one message of these lines."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.sendto("\n".join(lines).encode(), self._address)

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Feeder:
    """Feeds the manager's watchdog by the beds' own progress; `look` is called about once a second.

    One bed that stands silently ends the feeding, and the manager then starts the process anew. That is the last ring:
    its ward has tried to bring that bed back before (ward.SILENT_S). A bed that is only watched is not waited for:
    nobody relies on it, its alarm stands, and a new process would only watch it, too.
    """

    def __init__(self, manager: ServiceManager, clock: Clock, wards: Mapping[str, Ward]) -> None:
        self._manager, self._clock, self._wards = manager, clock, wards
        self._fed_at = clock.wire()
        self._said = ""

    def look(self) -> None:
        """Feed when every bed has judged something since the last time; say how things stand when that has changed."""
        silent = [name for name, ward in self._wards.items() if self._relied_on(ward) and not self._moved(ward)]
        if not silent:
            self._fed_at = self._clock.wire()
            self._manager.tell("WATCHDOG=1")
        status = words(self._wards)
        if status != self._said:
            self._said = status
            self._manager.tell(f"STATUS={status}")

    def _relied_on(self, ward: Ward) -> bool:
        return not ward.bed.monitor_only

    def _moved(self, ward: Ward) -> bool:
        return ward.judged_at > self._fed_at


def words(wards: Mapping[str, Ward]) -> str:
    """How the beds stand, in one line: `3 beds: 2 running, 1 idle; not in sight: two; only watched: three`."""
    phases = Counter(ward.bed.state.phase.value for ward in wards.values())
    parts = [f"{len(wards)} bed{'s' if len(wards) != 1 else ''}: " + ", ".join(f"{n} {p}" for p, n in phases.items())]
    blind = [name for name, ward in wards.items() if ward.bed.state.sight is not Sight.SEEING]
    watched = [name for name, ward in wards.items() if ward.bed.monitor_only]
    parts += [f"{what}: {', '.join(who)}" for what, who in (("not in sight", blind), ("only watched", watched)) if who]
    return "; ".join(parts)


def _address(name: str) -> str:
    return "\0" + name[1:] if name.startswith("@") else name


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """The manager's patience; None where it has no watchdog, or means another process than this one."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        return int(environment.get("WATCHDOG_USEC", "")) / 1e6
    except ValueError:
        return None
