"""Checks of a whole session with the daemon's own bed: in virtual time, on a bad line, and over a real pty."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from pumpd.bedside.desk import CHECKLIST
from pumpd.clock import SystemClock
from pumpd.driver import Motion
from pumpd.library import Syringe, load_syringes, share_file
from pumpd.line.link import OpenPipe
from pumpd.line.ports import PortError, open_port
from pumpd.line.talk import Pipe
from pumpd.testing.bad_line import BadLine
from pumpd.testing.bedside import PATIENT, PLANNED_ML, Bedside, Room, ward
from pumpd.testing.memory_port import Peer
from pumpd.testing.pty_line import PtyLine
from pumpd.testing.subject import Subject
from pumpd.testing.virtual_time import VirtualLoop

SEEDS = {1: 2200.0, 2: 5.0}  # and after how many seconds of running the line goes bad: near the end, at the start
COUNTED_ML = 0.05  # so much may be counted or computed otherwise than truly displaced
ALMOST = 0.99  # of the dose
OVER = ("observing", "paused")  # paused: a pump that goes to KVO at its limit is stopped, and a person looks
TROUBLE_S = 900.0
LATEST_S = 0.9  # of the longest documented answer time: later, an answer cannot be told from the next one
STANDS_FOR_S = 30.0
STILL_ML = 0.001
NOT_CHANGED = "a_flipped_bit_is_no_other_frame"  # left out of this, a line has no check; then no bit is flipped
PTY_RUN_S = 3.0
PTY_NOISE = 40  # bytes
PTY_PATIENCE_S = 20.0


def a_session_gives_the_dose(subject: Subject) -> None:
    """Planned, armed, started after a while, paused, resumed, done: the whole dose and not more."""

    async def play() -> None:
        device = subject.device()
        bed = _bed(subject, Room(), device)
        async with ward(bed):
            given = _given(subject, device)
            armed = await bed.armed()
            assert armed["state"] == "done", f"the arming ended as {armed}"
            await _stands(bed, given)  # somebody reads the figures before the start
            started = await bed.order("session.start", confirm=True)
            assert started["state"] == "done", f"the start ended as {started}"
            await bed.until_session(300)
            paused = await bed.order("session.pause")
            assert paused["state"] == "done", f"the pause ended as {paused}"
            await _stands(bed, given)
            resumed = await bed.order("session.resume", confirm=True)
            assert resumed["state"] == "done", f"the resumption ended as {resumed}"
            await bed.until(lambda: bed.phase not in ("running", "ending"), within_s=4000)
            over = f"it ended as {bed.phase} with {sorted(bed.alarms)} after {given()} mL of {PLANNED_ML} mL"
            assert bed.phase in OVER, over
            assert ALMOST * PLANNED_ML < given() <= PLANNED_ML + COUNTED_ML, over
            await _stands(bed, given)
            ended = await bed.order("session.end")
            assert ended["state"] == "done", f"the end ended as {ended}"

    _virtually(play)


def a_bad_line_never_gives_more(subject: Subject) -> None:
    """Lost, changed and late words, silences, a cable that falls out: never more than the dose, and STOP works."""
    for seed, good_s in SEEDS.items():
        _virtually(lambda seed=seed, good_s=good_s: _on_a_bad_line(subject, seed, good_s))  # type: ignore[misc]


async def _on_a_bad_line(subject: Subject, seed: int, good_s: float) -> None:
    device = subject.device()
    worst_s = subject.driver.open(subject.settings).capabilities.worst_reply_s
    line = BadLine(device, seed, late_s=LATEST_S * worst_s, changes=NOT_CHANGED not in subject.leaves_out)
    room = Room(seed=seed)
    bed = _bed(subject, room, line)
    async with ward(bed):
        given = _given(subject, device)
        await bed.running()
        await bed.until_session(good_s)
        line.bad = True
        began = room.clock.wire()
        while room.clock.wire() - began < TROUBLE_S and bed.phase in ("running", "paused"):
            if bed.phase == "paused":
                await bed.order("session.resume", confirm=True)
            await asyncio.sleep(5)
            assert given() <= PLANNED_ML + COUNTED_ML, f"seed {seed}: {given()} mL of {PLANNED_ML} mL"
        assert line.troubles, f"seed {seed}: nothing went wrong"
        line.bad = False
        await bed.until(lambda: bed.ward.link.ready, within_s=300)
        await asyncio.sleep(60)
        await bed.order("session.stop", wait_s=30)
        await _stands(bed, given)
        assert bed.state.report is not None
        assert bed.state.report.motion is Motion.STANDING, f"seed {seed}: after the stop it reads {bed.state.report}"
        assert given() <= PLANNED_ML + COUNTED_ML, f"seed {seed}: {given()} mL of {PLANNED_ML} mL"


def a_session_over_a_pty(subject: Subject) -> None:
    """Over a real pseudo-terminal and the real clock: started, disturbed, unplugged, plugged in, stopped."""
    asyncio.run(_over_a_pty(subject))


async def _over_a_pty(subject: Subject) -> None:
    device = subject.device()
    able = subject.driver.open(subject.settings).capabilities
    with PtyLine(device) as line:
        bed = _bed(subject, Room(clock=SystemClock()), device, _opener(subject, line))
        bed.wait_s = PTY_PATIENCE_S
        async with ward(bed):
            if not able.control:
                await _refuses(bed)
                return
            given = _given(subject, device)
            await bed.running()
            await asyncio.sleep(PTY_RUN_S / 2)
            line.crackle(Random(1).randbytes(PTY_NOISE))
            await asyncio.sleep(PTY_RUN_S / 2)
            assert given() > 0, "the session runs, and the pump has given nothing"
            line.pull()
            await bed.until(lambda: not bed.ward.link.ready, within_s=PTY_PATIENCE_S)
            line.plug()
            await bed.until(lambda: bed.ward.link.ready, within_s=PTY_PATIENCE_S)
            await bed.order("session.stop", wait_s=PTY_PATIENCE_S)
            await bed.until(lambda: _motion(bed) is Motion.STANDING, within_s=PTY_PATIENCE_S)
            before = given()
            await asyncio.sleep(1)
            assert given() - before < STILL_ML, "the stop was confirmed, and the pump moves"


def _opener(subject: Subject, line: PtyLine) -> OpenPipe:
    async def opened(receive: Callable[[bytes], None], lost: Callable[[str], None]) -> Pipe:
        if not line.path:
            raise PortError("missing", "the cable is out")
        return await open_port(line.path, subject.driver.line, None, receive, lost)

    return opened


async def _refuses(bed: Bedside) -> None:
    """The bed shows such a pump; a session with it is refused in words."""
    planned = await bed.planned()
    answer = planned
    if planned["state"] == "done":
        answer = await bed.order("session.arm", patient_ref=PATIENT, checklist=list(CHECKLIST))
    assert answer["state"] != "done", "a session was armed with a pump that can only be watched"


def _bed(subject: Subject, room: Room, device: Peer, open_pipe: OpenPipe | None = None) -> Bedside:
    container = subject.container
    plan: dict[str, object] = {"kind": container.kind, "make": container.make}
    plan |= {"size_ml": int(container.size.value), "fill_ml": int(container.fill.value)}
    listed = {(each.make, each.size) for each in load_syringes(share_file("syringes.toml"))}
    fitted: list[Syringe] = []
    if container.diameter_mm is not None and (container.make, container.size) not in listed:
        fitted = [Syringe(container.make, container.size, container.diameter_mm, "", "the conformance kit")]
    return Bedside(
        room,
        subject.driver,
        device,
        settings=subject.settings,
        container=plan,
        syringes=fitted,
        open_pipe=open_pipe,
    )


def _given(subject: Subject, device: Any) -> Callable[[], float]:
    measure = subject.given
    assert measure is not None, "the subject does not say what the simulated pump has truly displaced (given)"
    return lambda: measure(device)


async def _stands(bed: Bedside, given: Callable[[], float]) -> None:
    before = given()
    await asyncio.sleep(STANDS_FOR_S)
    assert given() - before < STILL_ML, f"the pump should stand ({bed.phase}), and gave {given() - before} mL"


def _motion(bed: Bedside) -> Motion | None:
    return None if bed.state.report is None else bed.state.report.motion


def _virtually(play: Callable[[], Awaitable[None]]) -> None:
    async def played() -> None:
        await play()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(played())
