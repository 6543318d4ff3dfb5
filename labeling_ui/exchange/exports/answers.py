"""Everything that was ever said, one row an answer, edit, undo or decision of a reviewer: what `rlhf import
--format answers` takes in again.

    {"answers": 1, "campaign", "version", "settings", "task", "prompt", "responses", "answer", "annotator",
     "seconds", "at", "action", "in_force", ...}

`responses` stand in the order in which they were shown, and `answer` names them by their place, from 0. Annotators
appear by their random id; a simulated one, which is a program, also by its name.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from foundation.files import Row
from labeling_ui.data_model import OF_REVIEWERS, Answer
from labeling_ui.store import tables
from labeling_ui.store.store import Entry, Store

LAYOUT = 2
"""The newest version of a row's layout: it holds what an earlier program would not understand.

A row has the lowest that it needs: 2 for the decision of a reviewer and for a paused task, else 1.
"""


@dataclass(frozen=True, slots=True)
class AnswerRows:
    """Every event of one campaign or of all, in the order of arrival, read anew whenever they are gone through.

    What was said of removed tasks is left out.
    """

    store: Store
    campaign: str | None = None

    def __iter__(self) -> Iterator[Row]:
        """One row an event."""
        return (_row(entry) for entry in self.store.log(self.campaign) if entry.task.state != "removed")


def _row(entry: Entry) -> Row:
    said, task, person, shown = entry.judgement, entry.task, entry.annotator, entry.judgement.shown
    paused = {"paused": True} if task.state == "paused" else {}
    return {
        "answers": LAYOUT if paused or said.action in OF_REVIEWERS else 1,
        "campaign": task.campaign,
        "version": entry.version.version,
        "settings": entry.version.campaign.model_dump(mode="json"),
        "task": {
            "id": task.id,
            "overlap": entry.overlap,
            "first_overlap": entry.first_overlap,
            "gold": None if task.gold is None else in_places(task.gold, shown),
            "repeat_of": task.repeat_of,
            "reserved_for": task.reserved_for,
            **paused,
        },
        "prompt": [dict(message) for message in entry.prompt.messages],
        "references": list(entry.prompt.references),
        "responses": [candidate.response for candidate in entry.candidates],
        "ids": {"prompt": entry.prompt.id, "responses": list(shown)},
        "sources": [dict(candidate.source) for candidate in entry.candidates],
        "answer": in_places(said.answer, shown),
        "annotator": person.id,
        "simulated": person.simulated,
        "program": person.name if person.simulated else None,
        "seconds": said.seconds,
        "at": said.created_at,
        "action": said.action,
        "in_force": entry.in_force,
        "view": said.view,
        "aids": None if said.aids is None else list(said.aids),
        "key": said.key,
    }


def in_places(answer: Answer, shown: Sequence[str]) -> dict[str, Any]:
    """An answer as JSON that names responses by their place; a response that was not rated has no score."""
    at = {candidate: place for place, candidate in enumerate(shown)}
    fields = tables.said(answer)
    if answer.winner is not None:
        fields["winner"] = at[answer.winner]
    if answer.ranking:
        fields["ranking"] = [[at[candidate] for candidate in group] for group in answer.ranking]
    if answer.ratings:
        fields["ratings"] = {name: [given.get(each) for each in shown] for name, given in answer.ratings.items()}
    return fields
