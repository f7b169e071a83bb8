"""Public test kit for driver authors and pumpd's own tests: virtual time, memory ports, rehearsed dialogues.

`pumpd.testing.conformance` holds a driver against the whole contract. See docs/write-a-driver.md.
"""

from pumpd.testing.memory_port import MemoryPort, Peer
from pumpd.testing.rehearsal import rehearse
from pumpd.testing.virtual_time import VIRTUAL_START_S, VIRTUAL_WALL_START, Deadlock, VirtualClock, VirtualLoop

__all__ = [
    "VIRTUAL_START_S",
    "VIRTUAL_WALL_START",
    "Deadlock",
    "MemoryPort",
    "Peer",
    "VirtualClock",
    "VirtualLoop",
    "rehearse",
]
