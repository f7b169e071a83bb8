"""A wire log played back: each question as it was answered the next time, with its delay (docs/simulator.md)."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.replay import BadLog, Exchange, Replay, parse_log, read_log

LOG = """\
# begun 2026-01-05T09:00:00.000Z
# opened
      0.010000 < 21  !
      0.500000 > 41 0d  A.
      0.520000 < 31  1
      0.530000 < 0d  .
      1.500000 > 42  B
      1.510000 > 0d  .
      1.700000 < 32 0d  2.
      3.700000 < 3f  ?
      4.000000 > 41 0d  A.
      4.250000 < 33 0d  3.
"""


def played(*asked: tuple[float, bytes]) -> tuple[list[tuple[float, bytes]], list[str]]:
    """What comes back, with its time, when this is asked at these times; and what was complained of."""
    words = list[str]()
    replay, came = Replay(parse_log(LOG.splitlines()), words.append), list[tuple[float, bytes]]()
    steps = sorted([*asked, *((hundredth / 100, b"") for hundredth in range(1000))])
    for at, data in steps:
        if data:
            replay.receive(data, at)
        if said := replay.outgoing(at):
            came.append((at, said))
    return came, words


def test_a_log_is_questions_with_what_came_after_them() -> None:
    assert parse_log(LOG.splitlines()) == [
        Exchange(b"", [(0.01, b"!")]),
        Exchange(b"A\r", [(pytest.approx(0.02), b"1"), (pytest.approx(0.03), b"\r")]),
        Exchange(b"B\r", [(pytest.approx(0.19), b"2\r"), (pytest.approx(2.19), b"?")]),
        Exchange(b"A\r", [(pytest.approx(0.25), b"3\r")]),
    ]


def test_what_was_asked_is_answered_again_after_the_same_time() -> None:
    came, words = played((5.0, b"A\r"), (6.0, b"B\r"), (9.0, b"A\r"))
    assert [data for _, data in came] == [b"!", b"1", b"\r", b"2\r", b"?", b"3\r"]
    assert [at for at, _ in came] == pytest.approx([0.01, 5.02, 5.03, 6.19, 8.19, 9.25], abs=0.011)
    assert words == []


def test_a_question_left_out_is_skipped_and_one_in_pieces_is_understood() -> None:
    came, words = played((5.0, b"B"), (5.1, b"\r"), (8.0, b"A\r"))
    assert [data for _, data in came] == [b"!", b"2\r", b"?", b"3\r"]
    assert words == []


def test_a_question_that_the_log_does_not_hold_gets_no_answer_and_is_told() -> None:
    came, words = played((5.0, b"C\r"), (6.0, b"A\r"))
    assert [data for _, data in came] == [b"!", b"1", b"\r"]
    assert words == ["not in the rest of the log: 43 0d"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nonsense", "line 1: expected seconds"),
        ("", "the pump never said anything"),
        ("      0.500000 > 41\n", "the pump never said anything"),
        ("      0.500000 > 4g\n", "line 1: expected seconds"),
        ("ä", "other letters"),
    ],
)
def test_a_file_that_is_no_wire_log_is_refused_in_words(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "wire.log"
    path.write_text(text)
    with pytest.raises(BadLog, match=says):
        read_log(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadLog, match=r"gone\.log: cannot be read"):
        read_log(tmp_path / "gone.log")
