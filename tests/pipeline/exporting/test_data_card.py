"""The data card states what annotators were asked when they answered, not what the configuration says now."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Judgement, Task
from labeling_ui.store.campaign_rules.rules import CampaignRules
from labeling_ui.store.store import Store
from pipeline.exporting import hub
from pipeline.runs.label_store import label_store
from tests.pipeline import tiny

Change = Callable[[Store], None]


@pytest.fixture
def card_after(finished: Path, tiny_settings: list[str], tmp_path: Path) -> Callable[..., str]:
    """What the card says annotators were asked, after a change of the store, by a configuration of other words."""

    def made(change: Change) -> str:
        path = shutil.copytree(finished, tmp_path / "run")
        other = ["label.instructions=Which is ruder?", "label.kind=ranking", "export.labels_license=cc-by-4.0"]
        run, config, _ = tiny.opened(path, [*tiny_settings, *other])
        with label_store(run, config) as store:
            change(store)
        hub.lay_out(run, config, run.artifact("export"), tmp_path / "laid", "someone/mine", ["labels"], None)
        card = (tmp_path / "laid" / "labels" / "README.md").read_text()
        return card.partition("Annotators were asked")[2].partition("| file")[0]

    return made


def reworded(store: Store, words: str) -> None:
    CampaignRules(store.database).change(
        "main", lambda known: known.model_copy(update={"instructions": words}), asked=False
    )


def judged(store: Store, task: Task) -> None:
    store.record(
        Judgement(task.id, store.annotator("ann").id, task.candidates, Answer("preferred", task.candidates[0]))
    )


def test_a_question_that_nobody_answered_is_not_stated(card_after: Callable[..., str]) -> None:
    said = card_after(lambda store: reworded(store, "Prefer the kinder one."))
    assert said.strip() == "which of two responses is better, without further instructions."


def test_every_edition_that_was_answered_is_stated_with_its_number(card_after: Callable[..., str]) -> None:
    def change(store: Store) -> None:
        before["judgements"] = store.counts().judgements
        reworded(store, "Prefer the kinder one.")
        for task in [each for each in store.tasks() if each.gold is None and each.repeat_of is None][:2]:
            judged(store, task)

    before: dict[str, int] = {}
    said = card_after(change)
    assert "which of two responses is better, without further instructions." in said
    assert f"({before['judgements']} judgements)" in said
    assert 'which of two responses is better: "Prefer the kinder one." (2 judgements)' in said
    assert "ruder" not in said


def test_what_a_verdict_asked_is_no_question_of_the_labels(card_after: Callable[..., str]) -> None:
    def change(store: Store) -> None:
        store.add_campaign(Campaign(instructions="Judge the policy.").for_verdict("verdict-000-1", 1))
        first = next(each for each in store.tasks() if each.gold is None and each.repeat_of is None)
        asked = Task(first.prompt_id, first.candidates, "verdict-000-1")
        store.add_tasks([asked])
        judged(store, asked)

    assert "Judge the policy" not in card_after(change)
