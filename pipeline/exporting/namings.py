"""Where what is about to be published may name somebody who has an account, or tells of this machine.

Found are names, parts of names, e-mail addresses of whomever, and folders, as texts that people have to read: a name
can be a word, and nothing is cut out. Whom a prompt or a response names beyond that, no program knows.
"""

import html
import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from foundation.files import read_json
from pipeline.config.config import Config
from pipeline.runs.folder import Run
from pipeline.runs.label_store import label_store

_VOCABULARIES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_SHORT = 2  # letters of a part of a name that would be found everywhere


def namings(run: Run, config: Config, folder: Path) -> Iterator[str]:
    """A line for every text in `folder` in which such a thing stands, with what is around it."""
    from labeling_ui.people.accounts import Accounts
    from labeling_ui.people.forgetting import spelled

    with label_store(run, config) as store:
        people = [person for person in Accounts(store.database).list() if not person.simulated]
    words = {str(run.path.resolve()), str(Path.home())}
    for person in people:
        parts = (part for part in person.name.split() if len(part) > _SHORT or not part.isascii())
        words |= {_plain(word) for word in (person.name, person.email, *parts) if word}
    known = spelled(sorted(words))
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".md", ".json", ".jsonl")):
        if path.name in _VOCABULARIES:
            continue
        for where, text in _texts(path):
            if found := known.search(text) or _ADDRESS.search(text):
                around = text[max(0, found.start() - 40) : found.end() + 40]
                shown = "".join(letter if letter.isprintable() else " " for letter in around)  # on somebody's terminal
                yield f"{path.relative_to(folder).as_posix()}{where}: ...{shown}..."


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    """The texts of a file, and where each is; those of JSON as whoever loads it has them."""
    if path.suffix == ".json":
        yield from (("", text) for text in _strings(read_json(path)))
        return
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if path.suffix == ".md":
            yield f", line {number}", _plain(html.unescape(line))
        elif line:
            yield from ((f", line {number}", text) for text in _strings(json.loads(line)))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield _plain(value)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield _plain(key)
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)


def _plain(text: str) -> str:
    """One spelling of what looks the same; cards write ' for `."""
    return unicodedata.normalize("NFC", text).replace("`", "'")
