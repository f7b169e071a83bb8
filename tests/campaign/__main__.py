"""`make campaign`: the daemon under random fire, for as long as one wants; `make test` runs a small part of it.

    python -m tests.campaign --only random --seeds 200 --seed 1000

Each campaign prints its seeds and its figures. A run that breaks a rule prints its seed and its story, and the exit
code is 1. To add one, write `def campaign(seed: int, seeds: int) -> bool` (true: no rule was broken) and name its
module in CAMPAIGNS.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Campaign:
    """Where it is, and how many seeds `make campaign` gives it."""

    module: str
    seeds: int
    what: str


CAMPAIGNS: dict[str, Campaign] = {
    "random": Campaign("tests.campaign.random_sessions", 1000, "random sessions at one bed or two, under every fault"),
    "families": Campaign("tests.campaign.family_sessions", 200, "random sessions of each other controllable family"),
    "broken": Campaign("tests.campaign.broken_daemons", 12, "daemons broken on purpose, which the watchers must catch"),
    "steps": Campaign("tests.campaign.property_steps", 100_000, "steps of the session machine in any order"),
    "deaths": Campaign("tests.campaign.injected_deaths", 1, "the daemon dies at every row and byte of a session"),
    "kills": Campaign("tests.campaign.kills", 500, "the real process ended with SIGKILL, once for each seed"),
}


def main() -> int:
    names = "\n".join(f"  {name:8} {one.what} (seeds: {one.seeds})" for name, one in CAMPAIGNS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaign",
        description=f"{__doc__}\ncampaigns:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", choices=CAMPAIGNS, help="run this one alone")
    parser.add_argument("--seeds", type=int, help="how many seeds, instead of the usual number")
    parser.add_argument("--seed", type=int, default=1, help="the first seed (default 1)")
    asked = parser.parse_args()
    held = True
    for name, one in CAMPAIGNS.items():
        if asked.only in (None, name):
            seeds = one.seeds if asked.seeds is None else asked.seeds
            print(f"{name}: {one.what}; {seeds} seeds from {asked.seed}", flush=True)
            began = time.monotonic()
            held = importlib.import_module(one.module).campaign(asked.seed, seeds) and held
            print(f"{name}: took {time.monotonic() - began:.0f} s\n", flush=True)
    print("no rule was broken" if held else "A RULE WAS BROKEN: see above")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
