"""One simulated pump without I/O: body, face, mouth, line and script behind `receive` and `outgoing`.

Two clocks: wire time `at`, in seconds, is given by the caller and times everything serial; simulated time runs `speed`
times as fast and moves physics, program pauses and scenarios.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from simulator.battery import Battery
from simulator.families import family_named
from simulator.family import AnyInvented, Family, Setup
from simulator.faults import Fault, Faults
from simulator.motions import Motion
from simulator.pump import Refused
from simulator.requests import UNDO, BadRequest
from simulator.scenario import Scenario, check


class Device:
    """A pump, switched on at the first `at` it is told. ValueError for settings that make no sense."""

    def __init__(
        self,
        family: str = "newera",
        *,
        speed: float = 1.0,
        seed: int = 1,
        baud: int = 0,
        scenario: Scenario | None = None,
        fill_ml: float | None = None,
        battery_min: float | None = None,
        model: str = "ideal",
        invented: AnyInvented | None = None,
        **options: Any,
    ) -> None:
        kind = family_named(family)
        _refuse(kind, speed, baud)
        if scenario is not None and scenario.family not in (None, family):
            raise ValueError(f"the scenario is written for {scenario.family}, and this pump is {family}")
        self.family = family
        self.speed = speed
        self.seed = seed
        self._scenario = scenario or Scenario()
        self._battery = Battery(kind.battery_min if battery_min is None else battery_min)
        self._has_battery = self._battery.percent is not None
        setup = Setup(
            seed=seed,
            fill_ml=kind.fill_ml if fill_ml is None else fill_ml,
            model=model,
            baud=baud or kind.default_baud,
            battery=self._battery,
            invented=_invented(kind, invented or self._scenario.invented),
            options=kind.settings(options),
        )
        self._reply_delay_s = setup.invented.reply_delay_s
        self._paced = baud > 0
        self._panel, self._mouth = kind.build(setup)
        self._body = self._panel.body
        self._faults = Faults()
        self._fault_count = 0
        self._at: float | None = None
        self._sim_s = 0.0
        self._due = -math.inf
        self._arriving: deque[tuple[float, bytes]] = deque()
        self._leaving: deque[tuple[float, bytes]] = deque()
        self._ready = bytearray()
        self._todo: list[tuple[float, int, dict[str, Any]]] = []
        self._todo_count = 0
        self._script_loaded = False

    # -- bytes and time

    def receive(self, data: bytes, at: float) -> None:
        """Hand over bytes that the host wrote at wire time `at`."""
        self.advance(at)
        if not data:
            return
        if self._faults:
            data = self._through_faults(data, at)
        if self._paced:
            self._pace_in(data, at)
        elif data and self._panel.powered:
            self._hear(data, at)
        self._plan()

    def advance(self, at: float) -> None:
        """Let time pass up to wire time `at`; everything due happens at its own moment, in order."""
        if self._at is None:
            self._switch_on(at)
        while self._due <= at:
            self._pass_until(max(self._due, self._at or 0.0))
            self._happen()
            self._plan()
        self._pass_until(at)

    def outgoing(self, at: float) -> bytes:
        """Take the bytes that have left the pump by wire time `at`."""
        self.advance(at)
        leaving = self._leaving
        while leaving and leaving[0][0] <= at:
            self._ready += leaving.popleft()[1]
        if not self._ready:
            return b""
        data = bytes(self._ready)
        self._ready.clear()
        return data

    def next_wake(self, at: float) -> float | None:
        """Wire time at which the device next wants `outgoing` called by itself; None when nothing is due."""
        due = self._due if not self._leaving else min(self._due, self._leaving[0][0])
        return None if due == math.inf else max(due, at)

    @property
    def connected(self) -> bool:
        """False while the line is unplugged: the server hangs up and refuses the port."""
        return not (self._faults and self._faults.on("disconnect"))

    def _switch_on(self, at: float) -> None:
        self._at = at
        self._announce()
        self._plan()

    def _pass_until(self, at: float) -> None:
        assert self._at is not None
        if at > self._at:
            dt = (at - self._at) * self.speed
            self._at = at
            self._sim_s += dt
            self._panel.advance(dt)
            if self._has_battery:
                self._battery.advance(dt)
                if not self._battery.idle:
                    self._panel.notice()

    def _happen(self) -> None:
        """Do what is due now."""
        at = self._at or 0.0
        while self._arriving and self._arriving[0][0] <= at:
            data = self._arriving.popleft()[1]
            if self._panel.powered:
                self._hear(data, at)
        if self._panel.powered and not self._battery.on_mains and self._battery.empty:
            self._go_dark()
        if self._panel.powered:
            self._mouth.advance(at)
        self._load_script()
        while self._todo and self._wire_time(self._todo[0][0]) <= at:
            self._carry_out(heapq.heappop(self._todo)[2])
        self._faults.forget_past(self._sim_s)
        if self._panel.powered:
            self._announce()

    def _plan(self) -> None:
        """Compute the wire time at which something happens by itself."""
        self._load_script()
        at = self._at or 0.0
        due = math.inf
        if self._panel.powered:
            change_s = min(self._panel.until_change(), self._battery.until_empty())
            if change_s != math.inf:
                due = self._later_than_now(at + change_s / self.speed)
            wire_due = self._mouth.due()
            if wire_due is not None and wire_due < due:
                due = wire_due
            if self._panel.raised:
                due = at
        if self._arriving:
            due = min(due, self._arriving[0][0])
        if self._todo:
            due = min(due, self._wire_time(self._todo[0][0]))
        if self._faults:
            due = min(due, self._later_than_now(self._wire_time(self._faults.next_end())))
        self._due = due

    def _later_than_now(self, due: float) -> float:
        """Let time move even where the wait is smaller than the clock can show."""
        return max(due, math.nextafter(self._at or 0.0, math.inf))

    def _wire_time(self, sim_s: float) -> float:
        return (self._at or 0.0) + (sim_s - self._sim_s) / self.speed

    # -- the line

    def _hear(self, data: bytes, at: float) -> None:
        reply = self._mouth.hear(data, at)
        if reply:
            self._say(reply)
        if self._panel.raised:
            self._announce()

    def _announce(self) -> None:
        self._say(self._mouth.unsolicited())
        self._panel.raised.clear()

    def _say(self, data: bytes) -> None:
        if not data:
            return
        at = (self._at or 0.0) + self._reply_delay_s
        if self._faults:
            data = self._faults.damage(data, "out")
            at += self._faults.delay_s()
        self._send(data, at)

    def _send(self, data: bytes, at: float) -> None:
        if self._leaving:
            at = max(at, self._leaving[-1][0])  # the line is busy until then
        if self._paced:
            for byte in data:
                at += self._mouth.byte_s
                self._leaving.append((at, bytes((byte,))))
        elif at <= (self._at or 0.0) and not self._leaving:
            self._ready += data
        else:
            self._leaving.append((at, data))

    def _through_faults(self, data: bytes, at: float) -> bytes:
        if self._faults.on("echo"):
            self._send(data, at)
        return self._faults.damage(data, "in")

    def _pace_in(self, data: bytes, at: float) -> None:
        if self._arriving:
            at = max(at, self._arriving[-1][0])
        for byte in data:
            at += self._mouth.byte_s
            self._arriving.append((at, bytes((byte,))))

    # -- script and back door

    def control(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out one request of the back door, e.g. `{"do": "press", "key": "run"}`, and answer `{"ok": ...}`."""
        try:
            check(request, self.family)
            answer = self._carry_out(dict(request))
        except BadRequest as problem:
            return {"ok": False, "error": str(problem)}
        self._plan()
        return answer

    def _carry_out(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["do"]
        if name in ("press", "set_rate", "run_away", "stall") and not self._panel.powered:
            return {"ok": False, "error": f"{name}: the pump is switched off"}
        try:
            answer = DOERS.get(name, Device._meddle)(self, request)
        except Refused as refusal:
            return {"ok": False, "error": f"{name}: the pump refuses: {refusal.code}"}
        self._panel.notice()
        if name in UNDO and "for_s" in request:
            undo = {**UNDO[name], **({"name": request["name"]} if "name" in request else {})}
            self._later(self._sim_s + request["for_s"], undo)
        return {"ok": True, **(answer or {})}

    def _later(self, sim_s: float, request: dict[str, Any]) -> None:
        self._todo_count += 1  # keeps requests of one moment in their order
        heapq.heappush(self._todo, (sim_s, self._todo_count, request))

    def _load_script(self) -> None:
        if self._script_loaded or (self._scenario.zero == "first-run" and not self._panel.started):
            return
        self._script_loaded = True
        for step in self._scenario.steps:
            request = {key: value for key, value in step.items() if key != "at_s"}
            self._later(self._sim_s + step["at_s"], request)

    def _press(self, request: dict[str, Any]) -> None:
        self._panel.press(request["key"])

    def _set_rate(self, request: dict[str, Any]) -> None:
        self._panel.dial_rate(request["ml_h"])

    def _run_away(self, request: dict[str, Any]) -> None:
        self._panel.run_away(request["ml_h"])

    def _meddle(self, request: dict[str, Any]) -> None:
        self._panel.meddle(request)

    def _occlude(self, request: dict[str, Any]) -> None:
        self._body.occlude(request.get("where", "downstream"))

    def _release(self, request: dict[str, Any]) -> None:
        self._body.release()

    def _stall(self, request: dict[str, Any]) -> None:
        if not self._body.turning:
            raise Refused("the motor is not turning")
        self._panel.stall()

    def _new_syringe(self, request: dict[str, Any]) -> None:
        self._body.new_container(request["fill_ml"])

    def _power_off(self, request: dict[str, Any]) -> None:
        self._battery.on_mains = False
        if self._battery.empty:
            self._go_dark()

    def _go_dark(self) -> None:
        self._panel.power_off()
        self._mouth.reboot()
        self._arriving.clear()
        self._leaving.clear()

    def _power_on(self, request: dict[str, Any]) -> None:
        self._battery.on_mains = True
        self._panel.power_on()

    def _reboot(self, request: dict[str, Any]) -> None:
        self._go_dark()
        self._power_on(request)

    def _mute(self, request: dict[str, Any]) -> None:
        self._add_fault(kind="mute")

    def _unmute(self, request: dict[str, Any]) -> None:
        self._faults.end("mute")

    def _disconnect(self, request: dict[str, Any]) -> None:
        self._add_fault(kind="disconnect")

    def _reconnect(self, request: dict[str, Any]) -> None:
        self._faults.end("disconnect")

    def _fault(self, request: dict[str, Any]) -> None:
        fields = {key: value for key, value in request.items() if key not in ("do", "for_s")}
        self._add_fault(**fields, stop_s=self._sim_s + request.get("for_s", math.inf))

    def _add_fault(self, **fields: Any) -> None:
        self._fault_count += 1
        self._faults.add(Fault(**fields, seed=f"{self.seed} {self._fault_count}"))

    def _clear_faults(self, request: dict[str, Any]) -> None:
        self._faults.end()

    def _truth(self, request: dict[str, Any]) -> dict[str, Any]:
        return self.truth()

    @property
    def motions(self) -> list[Motion]:
        """The last motions of the motor, oldest first; only `truth()` and its kin hold what is told outside."""
        return list(self._panel.motions.last)

    def truth(self) -> dict[str, Any]:
        """What really is, as of the last moment the device was told of; mL, mL/h, mmHg and s."""
        body, panel = self._body, self._panel
        return {
            "plunger_ml": body.plunger_ml,
            "patient_ml": body.patient_ml,
            "plunger_ml_by": dict(panel.motions.by),
            "trapped_ml": body.plunger_ml - body.patient_ml,
            "motion": panel.motions.last[-1].told() if panel.motions.last else None,
            "infusing": body.infusing,
            "flow_ml_h": body.flow_ml_h,
            "left_ml": body.left_ml,
            "pressure_mmhg": body.pressure_mmhg,
            "occluded": body.occluded,
            "powered": panel.powered,
            "on_mains": self._battery.on_mains,
            "battery_pct": self._battery.percent,
            "connected": self.connected,
            "faults": self._faults.names(),
            **panel.told(),
            **self._mouth.told(),
            "time_s": self._sim_s,
            "wire_s": self._at,
        }


DOERS: dict[str, Callable[[Device, dict[str, Any]], dict[str, Any] | None]] = {
    "press": Device._press,
    "set_rate": Device._set_rate,
    "run_away": Device._run_away,
    "occlude": Device._occlude,
    "release": Device._release,
    "stall": Device._stall,
    "new_syringe": Device._new_syringe,
    "power_off": Device._power_off,
    "power_on": Device._power_on,
    "reboot": Device._reboot,
    "mute": Device._mute,
    "unmute": Device._unmute,
    "disconnect": Device._disconnect,
    "reconnect": Device._reconnect,
    "fault": Device._fault,
    "clear_faults": Device._clear_faults,
    "truth": Device._truth,
}


def _refuse(family: Family, speed: float, baud: int) -> None:
    if not (speed > 0 and math.isfinite(speed)):
        raise ValueError(f"speed {speed}: expected a number above 0")
    if baud and baud not in family.bauds:
        raise ValueError(f"baud {baud}: expected 0 (no pacing) or one of {', '.join(map(str, family.bauds))}")
    if baud and speed > 1:
        raise ValueError(
            f"speed {speed:g} with baud {baud}: a paced line cannot be accelerated; use --baud 0, or speed 1"
        )


def _invented(family: Family, given: AnyInvented | None) -> AnyInvented:
    if given is None:
        return family.invented()
    if not isinstance(given, family.invented):
        raise ValueError(f"{type(given).__module__}: what is invented for another family; expected {family.name}'s")
    return given
