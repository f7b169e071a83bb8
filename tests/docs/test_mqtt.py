from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from pumpd.messaging.messages import TOPICS, Topic
from pumpd.messaging.requests import VERBS, Form, Reason, Request, parse_request

PAGE = (Path(__file__).parents[2] / "docs" / "mqtt.md").read_text()


def row(first_cell: str) -> list[str]:
    """The cells of the one table row that begins with `first_cell` in backticks."""
    rows = [line for line in PAGE.splitlines() if line.startswith(f"| `{first_cell}` |")]
    assert len(rows) == 1, f"{first_cell}: {len(rows)} rows"
    return [cell.strip() for cell in rows[0].strip("|").split("|")]


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.pattern)
def test_topic_is_documented_as_it_travels(topic: Topic) -> None:
    _, retained, qos, expiry, schema, _ = row(topic.pattern)
    assert retained.startswith("yes") == topic.retained
    assert int(qos) == topic.qos
    assert expiry.startswith("none" if topic.expiry_s is None else f"{topic.expiry_s} s")
    if topic.body is not None:
        assert schema == f"`{topic.body.schema_name}`"


def test_no_topic_is_documented_that_the_code_does_not_know() -> None:
    table = PAGE.split("## Topics")[1].split("## Envelope")[0]
    assert re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE) == [topic.pattern for topic in TOPICS]


@pytest.mark.parametrize("topic", [topic for topic in TOPICS if topic.body], ids=lambda topic: topic.pattern)
def test_every_field_of_a_body_is_documented_with_it(topic: Topic) -> None:
    assert topic.body is not None
    name = topic.body.schema_name.removeprefix("pumpd.").removesuffix("/1")
    bodies = PAGE.split("## Bodies")[1].split("##")[0]
    entry = bodies.split(f"* `{name}`:")[1].split("\n* ")[0]
    assert [field for field in topic.body.model_fields if f"`{field}`" not in entry] == []


@pytest.mark.parametrize(("verb", "form"), VERBS.items())
def test_verb_is_documented_with_its_arguments(verb: str, form: type[Form]) -> None:
    arguments = row(verb)[1]
    assert [field for field in form.model_fields if f"`{field}`" not in arguments] == []
    assert arguments.startswith("none") == (not form.model_fields)


def test_every_reason_is_documented() -> None:
    for reason in get_args(Reason):
        assert row(reason)


def test_request_of_the_page_is_read_by_the_code() -> None:
    example = PAGE.split("```json")[1].split("```")[0]
    request = parse_request("session.start", example.encode())
    assert set(Request.model_fields) - request.model_fields_set == set()
