"""Taking in what `rlhf labels export --kind answers` wrote, whole: every answer, edit, undo and
decision, with all around it.

Taken into an empty store, such a file gives the label set that it came from, to the hash; taken in twice, it adds
nothing. All of it is stored, or nothing. Answers that were written by hand, without versions and settings, are another
layout (`importers/answers_and_ratings.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from foundation.errors import UserError
from foundation.files import Row
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import AIDS, Action, Annotator, Answer, Candidate, Judgement, Prompt, Task, View
from labeling_ui.exchange.exports.answers import LAYOUT
from labeling_ui.exchange.importers.answers_and_ratings import is_exported
from labeling_ui.exchange.importers.judged_items import Refusal
from labeling_ui.exchange.importers.rows import open_source
from labeling_ui.store.answer_log import check_entry
from labeling_ui.store.store import Entry, Store, Version


def is_answer_file(path: str | Path) -> bool:
    """Whether the first row is one of an answers export, however the file is stored; `UserError` if it is damaged."""
    return any(is_exported(row) for _, row in islice(open_source(path).read(), 1))


def take_answer_file(store: Store, path: str | Path) -> tuple[int, int, list[Refusal]]:
    """Take the file in; returns how many rows were taken, how many were there already, and what was left out, by line.

    A row that is malformed or impossible, or a file of a newer layout, raises `UserError` and stores nothing.
    """
    lines: list[int] = []
    outcomes = store.take_log(_entries(path, lines))
    both = zip(lines, outcomes, strict=True)
    refused = [Refusal(line, said) for line, said in both if said not in ("taken", "repeated")]
    return outcomes.count("taken"), outcomes.count("repeated"), refused


def _entries(path: str | Path, lines: list[int]) -> Iterator[Entry]:
    for line, row in open_source(path).read():
        lines.append(line)
        where = f"{path}, line {line}"
        if not is_exported(row):
            raise UserError(
                f"{where}: it is no row of an answers export, as the rows before it are. Nothing was imported."
            )
        if row["answers"] > LAYOUT:
            raise UserError(_newer_layout(where, row["answers"]))
        try:
            entry = _entry(row)
        except (AttributeError, KeyError, TypeError, ValueError, IndexError, ValidationError) as error:
            missing = f"the field {error} is missing" if isinstance(error, KeyError) else f"it cannot be read ({error})"
            raise UserError(f"{where}: {missing}. Export the answers again. Nothing was imported.") from error
        try:
            check_entry(entry)
        except UserError as error:
            raise UserError(f"{where}: {error} Nothing was imported.") from error
        yield entry


def _newer_layout(where: str, layout: int) -> str:
    return (
        f"{where}: these answers are in layout {layout}, written by a newer rlhf-pipeline; this one knows up to "
        f"{LAYOUT}. Upgrade rlhf-pipeline. Nothing was imported."
    )


def _entry(row: Row) -> Entry:
    campaign = Campaign.model_validate(row["settings"])
    ids = [str(each) for each in row["ids"]["responses"]]
    prompt = Prompt(tuple(row["prompt"]), tuple(row["references"]), row["ids"]["prompt"])
    candidates = tuple(
        Candidate(prompt.id, text, source, one)
        for one, text, source in zip(ids, row["responses"], row["sources"], strict=True)
    )
    of = row["task"]
    gold = None if of["gold"] is None else answer_in_ids(of["gold"], ids)
    task = Task(
        prompt.id, tuple(ids), row["campaign"], gold, of["repeat_of"], of["reserved_for"], int(row["version"]),
        of["id"], "paused" if of.get("paused") else "open",
    )  # fmt: skip
    annotator = Annotator(row["annotator"], row["program"] or f"imported {row['annotator']}", row["simulated"])
    if task.campaign != campaign.name or annotator.simulated is not bool(row["program"]):
        raise ValueError("its parts do not belong together")
    said = Judgement(
        task.id, annotator.id, tuple(ids), answer_in_ids(row["answer"], ids), row["seconds"], row["at"], row["key"],
        row["action"], row.get("view"), None if row.get("aids") is None else tuple(row["aids"]),
    )  # fmt: skip
    if said.view not in (None, *get_args(View)):
        raise ValueError("it says of no known kind how the texts were looked at")
    if not set(said.aids or ()) <= {*AIDS}:
        raise ValueError("it names something that no annotator could ask for")
    if said.action not in get_args(Action) or not (said.key and said.created_at):
        raise ValueError("it does not say what was done, and when")
    version = Version(campaign, task.version, 0)
    first = of.get("first_overlap")
    if first is not None and not 1 <= first <= 100:
        raise ValueError("it does not say how many annotators were asked at first")
    return Entry(said, bool(row["in_force"]), task, int(of["overlap"]), first, prompt, candidates, annotator, version)


def answer_in_ids(fields: Mapping[str, Any], ids: Sequence[str]) -> Answer:
    """An answer that names responses by their place as one that names them by their ids: undoes `in_places`."""
    given = dict(fields)
    if "winner" in given:
        given["winner"] = ids[given["winner"]]
    given["ranking"] = tuple(tuple(ids[place] for place in group) for group in given.get("ranking", ()))
    given["not_applicable"] = tuple(given.get("not_applicable", ()))
    given["ratings"] = {
        name: {one: score for one, score in zip(ids, scores, strict=True) if score is not None}
        for name, scores in given.get("ratings", {}).items()
    }
    return Answer(**given)
