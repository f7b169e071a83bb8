"""Several pumps on one line: each hears every byte, and what they answer comes back one after the other.

To a port a line is what one device is; the back door reaches each device by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from simulator.device import Device


class Line:
    """Devices on one line, in the order in which they are wired; the first is next to the host."""

    def __init__(self, devices: Sequence[Device]) -> None:
        self.devices = list(devices)

    @property
    def connected(self) -> bool:
        """Unplugged at the first, none is reached."""
        return self.devices[0].connected

    def receive(self, data: bytes, at: float) -> None:
        """Every pump hears it; one that is unplugged does not."""
        for device in self.devices:
            if device.connected:
                device.receive(data, at)

    def advance(self, at: float) -> None:
        """Let time pass for all."""
        for device in self.devices:
            device.advance(at)

    def outgoing(self, at: float) -> bytes:
        """What all have said by `at`, in turn."""
        return b"".join(said for device in self.devices if (said := device.outgoing(at)) and device.connected)

    def next_wake(self, at: float) -> float | None:
        """The earliest that any wants."""
        wakes = [wake for device in self.devices if (wake := device.next_wake(at)) is not None]
        return min(wakes, default=None)


def devices_of(far_end: object) -> list[Device]:
    """The simulated pumps at the far end of a port."""
    if isinstance(far_end, Line):
        return far_end.devices
    return [far_end] if isinstance(far_end, Device) else []
