"""The texts of the pages, one file a language: to add a language, add `languages/CODE.json`, and
`languages/tasks/CODE.json` for the pages of leads, which are in English otherwise.

`{n}` and the like are filled in when a text is shown. Left out on purpose: plurals and dates, which the texts are
worded to do without.
"""

import json
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).with_name("languages")
COOKIE = "rlhf_language"
DEFAULT = "en"


@cache
def languages() -> dict[str, str]:
    """Code and own name of each language."""
    return {path.stem: words(path.stem)["language"] for path in sorted(FOLDER.glob("*.json"))}


@cache
def words(code: str, pages: str = "") -> dict[str, str]:
    """All words of a language for the pages of annotators, or others (a folder), by what they are for."""
    path = FOLDER / pages / f"{code}.json"
    path = path if path.exists() else path.with_name(f"{DEFAULT}.json")
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return found


def choose(cookie: str | None, accept_language: str | None) -> str:
    """The language to show: what was chosen on a page, else what the browser asks for, else English."""
    if cookie in languages():
        return cookie
    wanted: list[tuple[float, str]] = []
    for entry in (accept_language or "").split(","):
        code, _, quality = entry.strip().partition(";q=")
        try:
            wanted.append((-float(quality or 1), code.partition("-")[0].lower()))
        except ValueError:
            continue
    return next((code for quality, code in sorted(wanted, key=lambda want: want[0]) if code in languages()), DEFAULT)
