"""Every page: its links lead somewhere, its commands exist, it names no place outside of the repository."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from cyclopts import App, CycloptsError

from pumpd.cli import app as pumpd_app
from simulator.cli import app as simulator_app
from tests.docs.pages import DOCS, PAGES, ROOT, anchors, commands_in, name, prose

APPS = {"pumpd": pumpd_app, "pumpd-sim": simulator_app}
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
FOREIGN = re.compile(r"/work\b|\.\./shared|/tmp/brief|\.internal\b|\.corp\b|pypi\.org/simple")
DECISIONS = sorted(DOCS.glob("decisions/0*.md"))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text(encoding="utf-8"))):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if (
            not file.exists()
            or not file.is_relative_to(ROOT)
            or (anchor and anchor not in anchors(file.read_text(encoding="utf-8")))
        ):
            dead.append(target)
    assert dead == []


def test_a_dead_link_would_be_found() -> None:
    assert "figures" in anchors((DOCS / "safety.md").read_text(encoding="utf-8"))
    assert "no-such-heading" not in anchors((DOCS / "safety.md").read_text(encoding="utf-8"))


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, todo = set[Path](), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        seen.add(page)
        for target in re.findall(r"\]\(([^)#\s]+\.md)", page.read_text(encoding="utf-8")):
            file = (page.parent / target).resolve()
            if file not in seen:
                todo.append(file)
    assert {name(page) for page in PAGES if page not in seen} <= {"CHANGELOG.md"}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_page_names_a_place_outside_of_the_repository(page: Path) -> None:
    assert FOREIGN.findall(page.read_text(encoding="utf-8")) == []


def problem_of(command: str) -> str | None:
    """Why the command does not exist; None when it does. A page may shorten one: `pumpd session ...`."""
    program, *words = shlex.split(command.replace("'", '"') if command.count("'") % 2 else command)
    if program == "make":
        return None if set(words) <= TARGETS else f"no such target: {words}"
    shortened = words[-1:] == ["..."]
    words = [word for word in words if word != "..."]
    if not words or words == ["--install-completion"] or words[0] == "COMMAND":
        return None
    app: App = APPS[program]
    for word in words:
        if word.startswith("-") or word not in app:
            break
        app = app[word]
    if app is APPS[program]:
        return f"no such command: {words[0]}"
    if shortened or len(words) <= depth(program, words):
        return None
    try:
        APPS[program].parse_args(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return str(error) or type(error).__name__
    return None


def depth(program: str, words: list[str]) -> int:
    """How many of the words name a command; a page may name a command without its arguments."""
    app, count = APPS[program], 0
    for word in words:
        if word.startswith("-") or word not in app:
            return count
        app, count = app[word], count + 1
    return count


QUOTED = [(name(page), command) for page in PAGES for command in commands_in(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("page", "command"), QUOTED, ids=[f"{page}: {command[:60]}" for page, command in QUOTED])
def test_every_command_exists_and_takes_what_it_is_given(page: str, command: str) -> None:
    assert problem_of(command) is None, f"{page}: {command}"


def test_the_commands_were_found() -> None:
    said = {command for _, command in QUOTED}
    assert {"make demo", "make test", "pumpd stop one", "pumpd run --config config/pumpd.toml"} <= said


@pytest.mark.parametrize("command", ["make coffee", "pumpd fly", "pumpd session dance one", "pumpd plan --weigth 70"])
def test_a_command_that_does_not_exist_would_be_found(command: str) -> None:
    assert problem_of(command) is not None


@pytest.mark.parametrize("page", DECISIONS, ids=name)
def test_a_decision_has_its_three_headings_and_stands_in_the_list(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.match(rf"# {page.name[:4]}: \S", text)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
    assert f"({page.name})" in (DOCS / "decisions" / "README.md").read_text(encoding="utf-8")


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_the_readme_is_short_and_says_first_what_pumpd_is_not() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 120
    assert "not a certified medical device" in " ".join(lines[:6])
