"""`pumpd watch`: a station on the terminal, live."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from pumpd.commands.picture import Picture
from pumpd.commands.reach import ANYWHERE, Client, Failed, Reach, Where
from pumpd.commands.screen import out, station

DRAW_S = 0.25  # the screen is drawn by its own timer, so that silence shows too
AGAIN_S = 1.0  # after a lost connection


async def watch(*, where: Where = ANYWHERE) -> None:
    """Show every bed of a station until Ctrl-C: progress, time left, rates, volumes, alarms. Gives no orders.

    pumpd watch --socket /run/pumpd/pumpd.sock
    """
    await Viewer(where.reach()).run()


class Viewer:
    """Listens, draws by its own timer, and comes back when the daemon does."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self.picture = Picture()
        self._note: str | None = "connecting"

    async def run(self) -> None:
        """Until cancelled. Raises Failed when nobody is there at the start."""
        async with self._reach.open():
            pass
        with Live(self.draw(), console=out, auto_refresh=False, screen=out.is_terminal) as live:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen())
                while True:
                    live.update(self.draw(), refresh=True)
                    await asyncio.sleep(DRAW_S)

    def draw(self) -> RenderableType:
        """The screen as it should be now."""
        if not self.picture.sessions:
            return Text(self._note or "nothing has been heard yet")
        return station(self.picture, asyncio.get_running_loop().time(), self._note)

    async def _listen(self) -> None:
        while True:
            try:
                async with self._reach.open() as client:
                    await self._hear(client)
            except Failed as lost:
                self._note = f"NO CONNECTION, what stands here is last known: {lost}"
            await asyncio.sleep(AGAIN_S)

    async def _hear(self, client: Client) -> None:
        async with aclosing(client.subscribe("+", "pump/+/+")) as messages:  # type: ignore[type-var]  # a generator
            self._note = None
            async for topic, message in messages:
                self.picture.take(topic, message, asyncio.get_running_loop().time())
