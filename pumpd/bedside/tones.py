"""Alarm melodies as sound files, after IEC 60601-1-8 as summarised in docs/clinical.md. Pure: bytes out.

The source gives the notes of the drug-delivery family; pulse lengths, pauses and loudness are ours.
"""

from __future__ import annotations

import io
import math
import wave
from array import array
from collections.abc import Mapping

from pumpd.messaging.messages import Priority

SAMPLE_RATE_HZ = 16_000  # twice the highest partial and more; a higher one only costs start-up time
NOTES_HZ = {"c": 261.6, "d": 293.7, "e": 329.6, "g": 392.0, "C": 523.3}  # equal temperament, a' = 440 Hz
PARTIALS = (1, 2, 3, 4, 5)  # several partials can be placed by ear and pass cheap loudspeakers, one sine cannot
AMPLITUDE = 32_000 // len(PARTIALS)
RAMP_S = 0.02  # without a ramp a pulse clicks
REST_S = 0.3  # the dash in a melody

MELODIES: Mapping[Priority, tuple[str, float]] = {  # notes, seconds of a pulse and of the pause behind it
    "high": ("Cdg-CdCdg-Cd", 0.12),
    "medium": ("Cdg", 0.18),
    "low": ("ec", 0.20),
}


def melody(priority: Priority) -> bytes:
    """One burst as a WAV file: 16 bit, mono."""
    notes, pulse_s = MELODIES[priority]
    samples = array("h")
    for note in notes:
        samples += _silence(REST_S) if note == "-" else _pulse(NOTES_HZ[note], pulse_s) + _silence(pulse_s / 2)
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(samples.tobytes())
    return out.getvalue()


def _silence(seconds: float) -> array[int]:
    return array("h", bytes(2 * round(seconds * SAMPLE_RATE_HZ)))


def _pulse(hertz: float, seconds: float) -> array[int]:
    count = round(seconds * SAMPLE_RATE_HZ)
    ramp = RAMP_S * SAMPLE_RATE_HZ
    step = 2 * math.pi * hertz / SAMPLE_RATE_HZ
    return array(
        "h",
        (
            round(
                AMPLITUDE
                * min(1.0, index / ramp, (count - index) / ramp)
                * sum(math.sin(step * index * partial) for partial in PARTIALS)
            )
            for index in range(count)
        ),
    )
