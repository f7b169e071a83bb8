"""What was planned, believed and truly given, side by side: the demo's verdict."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from decimal import Decimal

from rich import box
from rich.table import Table
from rich.text import Text

from pumpd.commands.picture import Message
from pumpd.commands.reach import ANSWER_S, within

AGREE_SHARE = Decimal("0.01")  # belief and truth may differ by this share of the plan: two counter steps are 0.03 %
NEARLY_NOTHING = Decimal("0.000001")  # mL; the truth is a binary float


@dataclass(frozen=True)
class Account:
    """What was planned, what the daemon believes, what truly happened.

    What was integrated is the most that it can have been: it may be above the truth by what the pump would have given
    (`unseen`, mL) while it was being found to stand.
    """

    session: Message
    counted: Decimal
    integrated: Decimal
    truth: dict[str, Decimal]
    unseen: Decimal = Decimal(0)

    @property
    def planned(self) -> Decimal:
        """mL."""
        return Decimal(self.session["volume_ml"])

    @property
    def believed(self) -> dict[str, Decimal]:
        """mL, by where the belief comes from."""
        return {"counted by the pump": self.counted, "integrated by pumpd, at most": self.integrated}

    def _off(self, volume: Decimal) -> Decimal:
        return (volume - self.truth["plunger_ml"]) / self.planned

    def _may_be_above(self, volume: Decimal) -> Decimal:
        return self.unseen / self.planned if volume == self.integrated else Decimal(0)

    @property
    def faults(self) -> list[str]:
        """Why the verdict is no, in words."""
        found = [
            f"what was {name} is {self._off(volume):+.2%} from the truth"
            for name, volume in self.believed.items()
            if not -AGREE_SHARE <= self._off(volume) <= AGREE_SHARE + self._may_be_above(volume)
        ]
        if self.truth["plunger_ml"] > self.planned + NEARLY_NOTHING:
            found.append("more was given than planned")
        if self.truth["plunger_ml"] < self.planned * (1 - AGREE_SHARE):
            found.append("less was given than planned")
        if self.session["phase"] == "aborted":
            found.append("the session was aborted")
        return found

    @property
    def agrees(self) -> bool:
        """Do plan, belief and truth agree?"""
        return not self.faults

    def table(self) -> Table:
        """All volumes side by side (S6), with the truth that only a simulator knows."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
        table.add_column("what was given")
        for title in ("mL", "mg", "from the truth"):
            table.add_column(title, justify="right")
        names = {"the plan": self.planned, **self.believed}
        for name, volume in names.items():
            table.add_row(name, f"{volume:.3f}", self._mg(volume), f"{self._off(volume):+.2%}")
        table.add_section()
        table.add_row("the truth: moved by the plunger", *self._true("plunger_ml"), style="bold")
        table.add_row("the truth: into the patient", *self._true("patient_ml"))
        return table

    def _true(self, name: str) -> tuple[str, str, str]:
        volume = self.truth[name]
        return f"{volume:.3f}", self._mg(volume), "" if name == "plunger_ml" else f"{self._off(volume):+.2%}"

    def _mg(self, volume: Decimal) -> str:
        return f"{volume * Decimal(self.session['concentration_mg_ml']):.3f}"

    def verdict(self) -> Text:
        """In one line."""
        if self.agrees:
            return Text.assemble(
                (" ✓ ", "bold white on green"), " plan, belief and truth agree; not a drop more than planned was given"
            )
        return Text.assemble((" ✗ ", "bold white on red"), " ", "; ".join(self.faults))


async def ask_truth(back_door: tuple[str, int]) -> dict[str, Decimal]:
    """What really is, by the simulator's back door (docs/simulator.md)."""
    reader, writer = await asyncio.open_connection(*back_door)
    try:
        writer.write(b'{"do": "truth"}\n')
        await writer.drain()
        answer = json.loads(await within(ANSWER_S, reader.readline()), parse_float=Decimal, parse_int=Decimal)
    finally:
        writer.close()
        await writer.wait_closed()
    return {name: answer[name] for name in ("plunger_ml", "patient_ml")}
