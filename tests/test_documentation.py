"""The documentation and the program say the same."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from pipeline.cli.commands import app
from pipeline.config.config import Config
from pipeline.config.sources import field_names
from pipeline.play import PlayConfig

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
GROUPS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
COMMANDS: dict[str, Any] = {  # by name, as in "users add"
    name if each is group else f"{name} {each.name}": each
    for name, group in GROUPS.items()
    for each in getattr(group, "commands", {name: group}).values()
}
VERBS = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
OTHER_COMMANDS = {"--help", "--version"}

# Fenced blocks in a shell's language or none, and code spans.
_FENCE = re.compile(r"^```(?:sh|bash|console|)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")


def code_lines(page: Path) -> list[str]:
    """Each line of shell that the page shows, continuation lines joined."""
    text = page.read_text(encoding="utf-8")
    spans = [span.replace("\n", " ") for span in _SPAN.findall(re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))]
    blocks = "\n".join(_FENCE.findall(text)).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0] for line in [*spans, *blocks]]


def uses(page: Path, program: str) -> list[list[str]]:
    """The words after each `program` in the page's code."""
    pattern = re.compile(rf"(?:^|[\s/$;&(])(?:{program})\s+([^;&|]+)")
    return [match.split() for line in code_lines(page) for match in pattern.findall(line)]


def command(words: list[str]) -> str:
    """The name of the command that the words after `rlhf` call."""
    return " ".join(words[:2]) if words[0] in GROUPS and words[0] not in COMMANDS else words[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_documented_command_and_option_exists(page: Path) -> None:
    for words in uses(page, "rlhf|-m pipeline"):
        name = command(words)
        if name in OTHER_COMMANDS or not re.fullmatch(r"[a-z -]+", name):
            continue
        assert name in COMMANDS, f"{page.name} shows `rlhf {name}`, which does not exist"
        known = {option for parameter in COMMANDS[name].params for option in parameter.opts} | {"--help"}
        given = {word.split("=")[0] for word in words if word.startswith("--")}
        assert given <= known, f"{page.name} shows `rlhf {' '.join(words)}`; it has no {', '.join(given - known)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_documented_make_verb_exists(page: Path) -> None:
    shown = {words[0] for words in uses(page, "make") if re.fullmatch(r"[a-z]+", words[0])}
    assert shown <= VERBS, f"{page.name} shows make verbs that do not exist: {', '.join(sorted(shown - VERBS))}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_documented_field_exists(page: Path) -> None:
    known = {*field_names(Config), *field_names(PlayConfig)}
    sections = {name.partition(".")[0] for name in field_names(Config)}
    text = page.read_text(encoding="utf-8")
    shown = re.findall(r"--set[ =]([a-z_.]+)=", text)
    shown += [name.lower().replace("__", ".") for name in re.findall(r"\bRLHF_([A-Z_]+)=", text)]
    shown += [
        span for span in _SPAN.findall(text) if span.partition(".")[0] in sections and re.fullmatch(r"[a-z_.]+", span)
    ]
    shown = [name for name in shown if not name.endswith((".py", ".json", ".yaml", ".html", ".jsonl", ".md"))]
    unknown = [name for name in shown if name not in known and name not in sections]
    assert unknown == [], f"{page.name} names fields that do not exist"


def test_every_command_and_verb_is_documented() -> None:
    shown = {command(words) for page in PAGES for words in uses(page, "rlhf")}
    assert COMMANDS.keys() <= shown
    made = {words[0] for page in PAGES for words in uses(page, "make")}
    assert {"demo", "test", "lint", "bench", "clean"} <= made


def test_every_field_is_documented() -> None:
    text = (ROOT / "configs" / "example.yaml").read_text(encoding="utf-8")
    for name in field_names(Config):
        assert re.search(rf"^ *{name.rpartition('.')[2]}:", text, re.MULTILINE), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_what_the_tests_of_documentation_look_for_can_be_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Run `rlhf nothing --x=1` or\n\n```sh\nmake nonsense && rlhf loop \\\n  --zzz\n```\n")
    assert uses(page, "rlhf") == [["nothing", "--x=1"], ["loop", "--zzz"]]
    assert uses(page, "make") == [["nonsense"]]


def test_commands_of_a_group_are_told_apart() -> None:
    assert "users add" in COMMANDS
    assert "users" not in COMMANDS
    assert command(["users", "add", "NAME"]) == "users add"
    assert command(["label", "--run", "x"]) == "label"
