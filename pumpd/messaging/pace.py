"""How many requests a second are read: a sender gone mad must not fill the journal or keep the loop from the pumps."""

from __future__ import annotations

BURST = 100  # so many at once, as when a nurse station acknowledges all it shows
PER_S = 10.0  # and so many a second for ever


class Pace:
    """A bucket that fills at PER_S up to BURST. Times are wire seconds."""

    def __init__(self) -> None:
        self._left, self._at = float(BURST), 0.0

    def allows(self, now: float) -> bool:
        """Is there one left? Then it is taken."""
        self._left = min(BURST, self._left + max(0.0, now - self._at) * PER_S)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
