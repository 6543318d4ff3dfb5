"""Nothing but texts that the page or the API shows tells a gold task, a repeat or a verdict's task from others."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from scipy.stats import mannwhitneyu

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer
from labeling_ui.store import tables
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import TIE, fill
from tests.labeling_ui.pages import client_of
from tests.labeling_ui.web.judging import desk, judge

CARDS = 200
ANN = "0123456789abcdef"  # an annotator for whom the same is drawn in every run
CAMPAIGN = Campaign(gold_share=0.25, repeat_share=0.25, random_share=0.2)


Card = tuple[str, dict[str, float], Any]
"""Its task, all numbers that came with it, and its shape."""


@contextmanager
def mixed_tasks(folder: Path) -> Iterator[Store]:
    """Tasks with gold ones and repeats among them, and an annotator."""
    store = Store(folder / "labels.db")
    fill(store, 400, campaign=CAMPAIGN, gold=150)
    with store.database.write() as connection:
        connection.execute(
            sa.insert(tables.annotators), [{"id": ANN, "name": "Ann", "simulated": False, "created_at": "now"}]
        )
    yield store
    store.close()


@pytest.fixture
def mixed(tmp_path: Path) -> Iterator[Store]:
    with mixed_tasks(tmp_path) as store:
        yield store


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, list[Card]]]:
    """The same tasks after `CARDS` answers, which no test changes any more."""
    with mixed_tasks(tmp_path_factory.mktemp("judged")) as store:
        yield store, seen(client_of(store))


def shape(value: Any) -> Any:
    """What a card looks like, whatever its texts and ids are."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    return [shape(each) for each in value] if isinstance(value, list) else type(value).__name__


def seen(client: TestClient) -> list[Card]:
    """Every card that is answered.

    The numbers are those of the reply that brought the card, of the one that followed, and of the one to its answer.
    """
    found: list[Card] = []
    reply = desk(client)
    brought = {card["id"]: {"rose": 0.0, "waited": 0.0} for card in reply["cards"]}
    grown = 0.0
    for _ in range(CARDS):
        card, before = reply["cards"][0], reply["progress"]
        start = time.perf_counter()
        reply = judge(client, card, {"verdict": "tie"})
        took, after = time.perf_counter() - start, reply["progress"]
        grew, grown = grown, after["total"] - before["total"]
        for new in reply["cards"]:
            brought.setdefault(new["id"], {"rose": grown, "waited": took})
        numbers = {
            "place": len(found), "rest": len(found) % 7, "id": int(card["id"], 16), "ticket": len(card["ticket"]),
            "done": before["done"], "total": before["total"], "grew": grew, "grown": grown,
            "counted": after["done"] - before["done"], "took": took, "cards": len(reply["cards"]),
            "entries": len(client.get("/api/history").json()), **brought[card["id"]],
        }  # fmt: skip
        found.append((card["id"], numbers, shape({**card, "prompt": [], "responses": []})))
    return found


def test_no_figure_tells_gold_tasks_and_repeats_from_others(judged: tuple[Store, list[Card]]) -> None:
    store, cards = judged
    tasks = {task.id: task for task in store.tasks()}
    special = [tasks[each].gold is not None or tasks[each].repeat_of is not None for each, _, _ in cards]
    assert 60 < sum(special) < 140
    check_alike(cards, special)


def test_no_figure_tells_a_verdict_s_tasks_from_others(mixed: Store) -> None:
    fill(mixed, 200, campaign=CAMPAIGN.for_verdict("verdict-000-1", judges=1), asked="held out")
    cards = seen(client_of(mixed))
    tasks = {task.id: task for task in mixed.tasks()}
    special = [tasks[each].campaign != "main" for each, _, _ in cards]
    assert 60 < sum(special) < 140
    assert sum(tasks[each].repeat_of is not None for each, _, _ in cards if tasks[each].campaign != "main") > 10
    check_alike(cards, special)


def check_alike(cards: list[Card], special: list[bool]) -> None:
    """Whether the special ones have the same fields as the others, and no number by which to guess them."""
    assert all(looks == cards[0][2] for _, _, looks in cards), "every card has the same fields of the same kinds"
    for name in cards[0][1]:
        one, other = ([numbers[name] for (_, numbers, _), is_it in zip(cards, special, strict=True) if is_it is kind]
                      for kind in (True, False))  # fmt: skip
        right = mannwhitneyu(one, other).statistic / (len(one) * len(other))
        # Guessing by this figure is right so often; chance is one half, and four deviations of it are 0.165.
        assert abs(right - 0.5) < 0.165, (name, right)


def test_the_history_shows_a_task_that_came_again_once(judged: tuple[Store, list[Card]]) -> None:
    store, cards = judged
    tasks = {task.id: task for task in store.tasks()}
    again = {tasks[each].repeat_of for each, _, _ in cards} - {None}
    history = [judgement.task_id for judgement in store.history(ANN, CARDS)]
    assert len(history) == CARDS - len(again)
    assert not again & set(history)


def test_second_thoughts_on_a_repeat_are_about_the_first_time_too(mixed: Store) -> None:
    while shown := mixed.next_assignment(ANN):
        mixed.record(shown.judgement(TIE))
        if shown.task.repeat_of:
            break
    assert shown is not None
    seen_again = mixed.assignment(shown.task.id, ANN)
    better = shown.shown[0].id
    edit = replace(seen_again.judgement(Answer("preferred", better), key="e"), action="edit")
    assert (mixed.record(edit), mixed.record(edit)) == ("edited", "repeated")
    said = {judgement.task_id: judgement.answer.winner for judgement in mixed.judgements()}
    assert (said[shown.task.id], said[shown.task.repeat_of or ""]) == (better, better)
    assert mixed.verify() == []
