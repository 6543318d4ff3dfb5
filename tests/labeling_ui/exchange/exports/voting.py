"""Judgements for the tests of exports: votes on pairs, and any other answer."""

from typing import Any

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Judgement, Task
from labeling_ui.exchange.exports.preferences import preferences
from labeling_ui.store.store import Store

RANKING = Campaign(name="ranked", kind="ranking", gold_share=0, repeat_share=0)
RATING = Campaign(name="rated", kind="rating", gold_share=0, repeat_share=0)
Said = tuple[str, int | None]


def say(store: Store, task: Task, name: str, answer: Answer, simulated: bool = False) -> None:
    store.record(Judgement(task.id, store.annotator(name, simulated).id, task.candidates, answer))


def vote(store: Store, task: Task, name: str, said: Said, simulated: bool = False) -> None:
    winner = {"a": task.candidates[0], "b": task.candidates[1]}.get(said[0])
    verdict: Any = "preferred" if winner else said[0]
    say(store, task, name, Answer(verdict, winner, said[1] if winner else None), simulated)


def only(store: Store) -> dict[str, Any]:
    (row,) = preferences(store).rows
    return row
