"""A family that exists in tests alone: the common face, and a mouth that speaks a line of words."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from simulator.battery import Battery
from simulator.families import FAMILIES
from simulator.family import TRUE_DIAMETER, AnyInvented, Family, Option, Setup, byte_s
from simulator.infuser import KEYS, Infuser, Manners, actions
from simulator.physics import Body, model_named
from simulator.pump import Refused
from simulator.volumetric import Tubing, Volumetric, volumetric_model

ALARM_MMHG = 500.0
MANNERS = Manners(near_end_s=180.0, near_empty_ml=2.0, kvo_s=3600.0, reminder_s=120.0, kvo_ml_h=0.5)


class ToyMouth:
    """`rate 50`, `limit 10`, `start`, `stop`, `told`, each with a line end."""

    def __init__(self, face: Infuser) -> None:
        self.face = face
        self.byte_s = byte_s(1200)

    def hear(self, data: bytes, at: float) -> bytes:
        return b"".join(self._answer(line.decode()) for line in data.split(b"\n") if line)

    def _answer(self, line: str) -> bytes:
        word, _, number = line.partition(" ")
        try:
            if word == "rate":
                self.face.set_rate(float(number))
            elif word == "limit":
                self.face.set_limit(float(number) if number else None)
            elif word == "time":
                self.face.set_time_limit(float(number) if number else None)
            elif word == "start":
                self.face.start()
            elif word == "stop":
                self.face.stop()
        except Refused as refusal:
            return f"no: {refusal.code}\n".encode()
        shown_ml = math.floor(self.face.infused_ml * 1000 + 1e-3) / 1000  # no digit hangs on a rounding residue
        return f"{self.face.doing} {shown_ml:.3f}\n".encode()

    def unsolicited(self) -> bytes:
        return "".join(f"! {trouble}\n" for trouble in self.face.raised).encode()

    def due(self) -> float | None:
        return None

    def advance(self, at: float) -> None: ...

    def reboot(self) -> None: ...

    def told(self) -> dict[str, Any]:
        return {"mouth": "toy"}


def _build(setup: Setup) -> tuple[Infuser, ToyMouth]:
    model = model_named(setup.model, setup.seed)
    body = Body(model, fill_ml=setup.fill_ml, alarm_mmhg=ALARM_MMHG)
    face = Infuser(body, setup.battery, MANNERS)
    return face, ToyMouth(face)


def _build_with_bag(setup: Setup) -> tuple[Infuser, ToyMouth]:
    model = volumetric_model(setup.model, setup.seed)
    body = Volumetric(model, fill_ml=setup.fill_ml, alarm_mmhg=ALARM_MMHG, tubing=Tubing(clamps_itself=False))
    face = Infuser(body, setup.battery, replace(MANNERS, at_limit="kvo", kvo_s=71.9))
    return face, ToyMouth(face)


FAMILY = Family(
    name="toy",
    description="a toy",
    build=_build,
    keys=tuple(KEYS),
    bauds=(1200,),
    default_baud=1200,
    invented=AnyInvented,
    options=(TRUE_DIAMETER, Option("serial", "serial", "T-1", "its serial number")),
    actions=actions(),
    fill_ml=50.0,
    battery_min=47.3,
)
BAG = replace(
    FAMILY,
    name="toybag",
    build=_build_with_bag,
    options=(),
    actions=actions(volumetric=True),
    kinds=("volumetric",),
    fill_ml=20.0,
)


@contextmanager
def registered() -> Iterator[None]:
    FAMILIES.update({family.name: family for family in (FAMILY, BAG)})
    try:
        yield
    finally:
        for family in (FAMILY, BAG):
            del FAMILIES[family.name]


def infuser(manners: Manners = MANNERS, *, fill_ml: float = 50.0, battery_min: float = 60.0) -> Infuser:
    return Infuser(Body(fill_ml=fill_ml, alarm_mmhg=ALARM_MMHG), Battery(battery_min), manners)


def started(rate_ml_h: float = 60.0, limit_ml: float | None = None, **how: Any) -> Infuser:
    face = infuser(**how)
    face.set_rate(rate_ml_h)
    face.set_limit(limit_ml)
    face.start()
    return face


def pass_time(face: Infuser, seconds: float, step: float = math.inf) -> None:
    """As the device does it: never past a change."""
    while seconds > 1e-9:
        dt = min(seconds, step, max(min(face.until_change(), face.battery.until_empty()), 1e-6))
        face.advance(dt)
        face.battery.advance(dt)
        face.notice()
        seconds -= dt
