"""A daemon with a hundred beds under a session each: CPU, lateness, alarm and STOP latency."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

from tests.bench.figures import Row, ms, p50_p99, spread
from tests.bench.raw import mqtt_round_trips, pty_exchange_cpu_s
from tests.bench.world import Pump, World, cpu_s, until, world

BEDS = 100
WATCH_S = 12.0
ALARMS, STOPS, SILENT_STOPS = 300, 300, 20
ALARM_BEDS = 10  # of the hundred; alarms at all of them at once would time the alarm list, not the alarm
QUIET_S = 0.1  # to the poll before and the poll behind: in between nobody takes the alarm for an answer
REPLY_TIMEOUT_S = 0.5  # of the driver: what a STOP on a silent line may wait at most


async def many_beds(folder: Path, broker: int) -> list[Row]:
    """Rows of one daemon that runs `BEDS` sessions."""
    exchange_s = pty_exchange_cpu_s()
    publish = await mqtt_round_trips(broker, 300)
    async with world(folder / "many", BEDS, broker) as station:
        station.start()
        await station.seen()
        await station.run_all()
        await asyncio.sleep(1.0)
        rows = await _watch(station, exchange_s)
        rows.append(await _alarms(station, publish))
        rows += await _stops(station, publish)
        return rows


async def _watch(station: World, exchange_s: float) -> list[Row]:
    for pump in station.pumps.values():
        pump.polled.clear()
    began, cpu = time.perf_counter(), cpu_s(station.pid)
    await asyncio.sleep(WATCH_S)
    took, cpu = time.perf_counter() - began, cpu_s(station.pid) - cpu
    polls = sum(len(pump.polled) for pump in station.pumps.values())
    each, share = cpu / polls, cpu / took
    late = spread(_lateness(list(station.pumps.values())))
    return [
        Row(
            "CPU per full poll: 2 exchanges, decide, journal, publish",
            f"{each * 1e6:.0f} us = {each / exchange_s:.0f}x ({polls} polls)",
            f"raw pty exchange {exchange_s * 1e6:.1f} us = 1x",
            "<= 20x",
            each <= 20 * exchange_s,
        ),
        Row(
            f"one core, {BEDS} pumps at 1 Hz, journal and log on",
            f"{share * 100:.0f} % of a core; so {int(0.4 / share * BEDS)} pumps at 40 %",
            f"{exchange_s * BEDS * 100:.2f} % (raw exchanges)",
            "1,000 pumps at <= 40 %",
            share / BEDS * 1000 <= 0.4,
        ),
        Row(
            f"poll lateness over {WATCH_S:g} s, {BEDS} pumps",
            f"p50 {ms(late.p50)}, p99 {ms(late.p99)}, most {ms(late.most)}",
            "0",
            "p99 < 100 ms",
            late.p99 < 0.1,
        ),
    ]


def _lateness(pumps: list[Pump]) -> list[float]:
    """Each poll against its own pump's schedule of one a second, as its earliest poll tells it."""
    late: list[float] = []
    for pump in pumps:
        offsets = [at - number for number, at in enumerate(pump.polled)]
        late += [offset - min(offsets) for offset in offsets]
    return late


async def _alarms(station: World, publish: list[float]) -> Row:
    """An alarm that a pump tells by itself, to the subscriber's socket; the journal writes the event meanwhile."""
    told: dict[str, float] = {}
    took: list[float] = []

    def heard(topic: str, payload: bytes) -> None:
        if "/alarm/" in topic and b'"code":"motor_stalled"' in payload and b'"condition":"present"' in payload:
            bed = topic.rsplit("/", 1)[1].split("-")[0]
            if bed in told:
                took.append(time.perf_counter() - told.pop(bed))

    station.on_message = heard
    dice = random.Random(1)
    for number in range(ALARMS):
        bed = station.names[number % ALARM_BEDS]
        pump = station.pumps[bed]
        await asyncio.sleep(dice.uniform(0.0, 2.4 / ALARM_BEDS))
        if bed not in told and QUIET_S < time.perf_counter() - pump.polled[-1] < 1.0 - QUIET_S:
            told[bed] = pump.alarm()
    await asyncio.sleep(1.5)
    return Row(
        f"alarm: last byte from the pump -> subscriber, {BEDS} pumps, journal on",
        p50_p99(took),
        f"publish -> subscriber {p50_p99(publish)}",
        "p99 <= 3 ms",
        spread(took).p99 <= 0.003,
    )


async def _stops(station: World, publish: list[float]) -> list[Row]:
    station.on_message = lambda topic, payload: None
    dice = random.Random(2)
    healthy, silent = [], []
    for number in range(STOPS):
        healthy.append(await _stop(station, station.names[number % BEDS]))
        await asyncio.sleep(dice.uniform(0.005, 0.02))
    for bed in station.names[:SILENT_STOPS]:
        pump = station.pumps[bed]
        pump.silent, asked = True, len(pump.polled)
        await until(lambda: len(pump.polled) > asked)  # noqa: B023 - awaited here
        await asyncio.sleep(dice.uniform(0.0, REPLY_TIMEOUT_S))
        silent.append(await _stop(station, bed))
        pump.silent = False
    floor = f"publish -> subscriber {p50_p99(publish)}"
    return [
        Row("STOP on the bus -> STP on the wire", p50_p99(healthy), floor, "p99 <= 5 ms", spread(healthy).p99 <= 0.005),
        Row(
            "the same while the pump does not answer",
            p50_p99(silent),
            floor,
            f"<= one reply time-out ({REPLY_TIMEOUT_S:g} s)",
            spread(silent).most <= REPLY_TIMEOUT_S,
        ),
    ]


async def _stop(station: World, bed: str) -> float:
    pump = station.pumps[bed]
    pump.stopped.clear()
    _, left = station.order("pump.stop", bed)
    await until(lambda: bool(pump.stopped))
    return pump.stopped[0] - left
