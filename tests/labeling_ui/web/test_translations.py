"""The words of the pages, in every language."""

import re
from pathlib import Path

import pytest

from labeling_ui.web.labeling_page import STATIC
from labeling_ui.web.translations import choose, languages, words
from pipeline.serving.app import OWN

SCRIPTS = [*sorted((STATIC / "page").glob("*.js")), OWN / "chat.js"]


@pytest.mark.parametrize("pages", ["", "tasks"])
def test_every_language_has_every_word_and_the_same_places(pages: str) -> None:
    english = words("en", pages)
    for code in languages():
        assert words(code, pages).keys() == english.keys()
        for name, text in words(code, pages).items():
            assert set(re.findall(r"{\w+}", text)) == set(re.findall(r"{\w+}", english[name])), (code, name)
            assert text.strip(), (code, name)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_every_word_that_the_page_says_is_in_the_files(path: Path) -> None:
    used = set(re.findall(r'\bt\([^)]*?"([a-z]+\.[a-z_]+)"', path.read_text(encoding="utf-8")))
    assert used <= words("en").keys()


def test_every_word_is_used() -> None:
    files = [*SCRIPTS, *STATIC.glob("*.html"), *STATIC.parent.glob("*.py")]
    source = "".join(path.read_text(encoding="utf-8") for path in files)
    # These are also looked up by a name that is put together.
    built = (
        "title.",
        "card.",
        "pair.",
        "skip.",
        "said.",
        "why.",
        "help.",
        "header.",
        "sign_in.",
        "invitation.",
        "account.",
        "renewal.",
        "round.",
        "empty.",
    )
    unused = [name for name in words("en") if name not in source and not name.startswith(built)]
    assert unused == []


def test_every_word_of_the_pages_of_leads_is_used_and_there() -> None:
    files = [*(STATIC / "tasks").glob("*.html"), *(STATIC.parent / "tasks").glob("*.py")]
    source = "".join(path.read_text(encoding="utf-8") for path in files)
    built = (
        "verdict.",
        "said.",
        "state.",
        "done.",
        "log.",
        "change.",
        "mark.",
        "filter.",
        "answers.",
        "reason.",
        "role.",
        "work.",
        "audit.",
    )
    assert [name for name in words("en", "tasks") if name not in source and not name.startswith(built)] == []
    assert set(re.findall(r"\bw(?:ords)?\[[\"']([a-z]+\.[a-z_]+)[\"']\]", source)) <= words("en", "tasks").keys()


@pytest.mark.parametrize(
    ("cookie", "accepted", "chosen"),
    [
        (None, None, "en"),
        (None, "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        (None, "fr,en;q=0.3,zh;q=0.5", "zh"),
        (None, "fr", "en"),
        ("en", "zh", "en"),
        ("../../etc/passwd", "zh;q=x, zh-TW", "zh"),
    ],
)
def test_the_language_is_the_chosen_one_else_the_browsers(
    cookie: str | None, accepted: str | None, chosen: str
) -> None:
    assert choose(cookie, accepted) == chosen
