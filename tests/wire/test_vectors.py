"""The vectors that the drivers and the simulated pumps are held to are the same ones, and where they come from is kept
apart: what was logged, quoted or is a maker's example is truth, what was constructed serves against regression only.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from rehearsal import TRANSCRIPTS, lines_of

Line = tuple[str, bytes]

GROUPS = {
    "alaris": {"truth": "real_pump", "published": "published", "regression": "constructed"},
    "fresenius": {"truth": "maker_example", "published": "published", "regression": "constructed"},
}
CLEAR = {"alaris": "logged quoted", "fresenius": "manufacturer"}  # words of whoever calls a vector truth
MADE_UP = ("constructed", "inferred", "invented")


def of_the_simulator(family: str) -> Any:
    return json.loads((TRANSCRIPTS / f"sim_{family}.json").read_text(encoding="ascii"))


def in_lines(vector: dict[str, str | None]) -> set[Line]:
    """What host and pump say in it, bytes in whichever form the file has them."""
    said = set()
    for who, side in ((">", "host"), ("<", "pump")):
        if spelled := vector.get(f"{side}_hex"):
            said.add((who, bytes.fromhex(spelled)))
        elif text := vector.get(side):
            said.add((who, text.encode() if text[0] == "!" else bytes.fromhex(text)))
    return said


@pytest.mark.parametrize(("family", "group"), [(family, group) for family, named in GROUPS.items() for group in named])
def test_drivers_and_simulated_pumps_are_held_to_the_same_vectors(family: str, group: str) -> None:
    vectors = of_the_simulator(family)[group]
    expected = set().union(*(in_lines(vector) for vector in vectors))
    assert set(lines_of(GROUPS[family][group], family)) == expected


@pytest.mark.parametrize("family", GROUPS)
def test_nothing_made_up_is_called_truth(family: str) -> None:
    vectors = of_the_simulator(family)
    for vector in vectors["truth"]:
        assert any(word in vector["provenance"] for word in CLEAR[family].split()), vector["note"]
    for vector in vectors["published"]:
        assert not any(word in vector["provenance"] for word in MADE_UP), vector["note"]


def test_the_constructed_vectors_of_bbraun_are_the_same() -> None:
    vectors = of_the_simulator("bbraun")
    assert "not truth" in vectors["provenance"]
    expected = [line for vector in vectors["vectors"] for line in ((">", vector["host"]), ("<", vector["pump"]))]
    assert lines_of("golden_constructed", "bbraun") == [(who, bytes.fromhex(said)) for who, said in expected]


def test_the_vectors_of_zyno_are_the_same_and_none_is_called_logged() -> None:
    vectors = of_the_simulator("zyno")["vectors"]
    rows = [line for name in ("published", "constructed", "requests") for line in lines_of(name, "zyno")]
    assert set(rows) == set().union(*(in_lines(vector) for vector in vectors))
    published = {raw for _, raw in lines_of("published", "zyno")}
    for vector in vectors:
        made_up = any(word in vector["source"] for word in MADE_UP)
        assert not made_up or not published & {raw for who, raw in in_lines(vector) if who == "<"}, vector["note"]
        assert "logged" not in vector["source"]


def test_what_was_recorded_of_harvard_pumps_is_the_same() -> None:
    simulated = {
        (exchange["host"].encode(), exchange["pump"].encode())
        for group in of_the_simulator("harvard")["groups"]
        for exchange in group["exchanges"]
        if exchange["provenance"] == "recorded"
    }
    lines = [line for name in ("recorded", "recorded_poll_off") for line in lines_of(name, "harvard")]
    assert {(sent, answer) for (_, sent), (_, answer) in zip(lines[::2], lines[1::2], strict=True)} == simulated


@pytest.mark.parametrize("name", ["golden_basic", "golden_safe"])
def test_the_golden_exchanges_of_newera_are_replayed_by_the_simulated_pump(name: str) -> None:
    replayed = [
        (row[0], row[2:].encode().decode("unicode_escape").encode("latin-1"))
        for path in sorted((TRANSCRIPTS / "newera").glob("sim_*.txt"))
        for row in path.read_text(encoding="ascii").splitlines()
        if row[:1] in "<>" and row
    ]
    rest = iter(replayed)
    assert [line for line in lines_of(name) if line not in rest] == [], "in this order"
