"""Beds do not all poll at the same moment: what comes in between waits for one poll at most."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.bedside import Bedside, Room, ward


@pytest.mark.shows("within:poll_s")
async def test_a_bed_with_a_later_turn_polls_between_the_others() -> None:
    room = Room()
    beds = [Bedside(room, name) for name in ("one", "two")]
    beds[1].ward.bed.setup = replace(beds[1].setup, stagger_s=0.5)
    began = room.clock.wire()
    async with ward(*beds):
        await asyncio.sleep(5)
    turns = [{round(at - began, 2) % 1.0 for at, data in bed.port.written[-6:] if b"DIS" in data} for bed in beds]
    assert turns == [{0.0}, {0.5}]
