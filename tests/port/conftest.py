"""Real brokers for the tests that need one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from brokers import Mosquitto, mosquitto_program


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    program = mosquitto_program()
    if program is None:
        pytest.skip("mosquitto is not installed")
    broker = Mosquitto(program, tmp_path)
    await broker.start()
    yield broker
    await broker.kill()
