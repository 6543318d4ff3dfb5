"""Settings of a running campaign: those that change what answers mean are a new version, others apply at once."""

from typing import Any

import pytest

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Assignment
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import TIE, fill, fill_with, outstanding

RATING = Campaign(name="rated", kind="rating", scale=5, aspects=("helpful",), gold_share=0, repeat_share=0)


def rated(shown: Assignment, score: int) -> Answer:
    return Answer("rated", ratings={aspect: {shown.shown[0].id: score} for aspect in shown.campaign.aspects})


def rate(store: Store, who: str, score: int) -> Assignment:
    shown = store.next_assignment(who)
    assert shown is not None
    assert store.record(shown.judgement(rated(shown, score))) == "taken"
    return shown


def changed(**settings: Any) -> Campaign:
    return RATING.model_copy(update=settings)


@pytest.mark.parametrize("change", [{"scale": 9}, {"scale": 2}, {"aspects": ("helpful", "honest")}])
def test_another_meaning_is_a_new_version_with_tasks_of_its_own(store: Store, change: dict[str, Any]) -> None:
    fill_with(store, RATING, 3, 1)
    ann = store.annotator("ann").id
    first = rate(store, ann, 5)
    held = store.next_assignment(ann)
    assert held is not None
    before = store.label_set_hash()
    store.add_campaign(changed(**change))
    assert store.label_set_hash() == before, "what was said means what it meant"
    assert store.version("rated") == 2
    assert store.versions()["rated", 1].campaign == RATING
    assert store.waiting() == 3, "all is asked anew"
    assert store.assignment(first.task.id, ann).campaign == RATING, "an edit is on the scale of its time"
    shown = rate(store, ann, 2)
    assert (shown.task.version, shown.campaign) == (2, changed(**change))
    # What was on the screen when the settings changed was asked in the old way, and is kept in it.
    assert store.record(held.judgement(rated(held, 5))) == "taken"
    outstanding_versions = set()
    while following := store.next_assignment(ann):
        outstanding_versions.add(following.task.version)
        store.record(following.judgement(rated(following, 1)))
    assert outstanding_versions == {2}
    assert store.waiting() == 0


def test_before_anybody_was_asked_a_campaign_can_change_its_meaning(store: Store) -> None:
    fill_with(store, RATING, 2, 1)
    store.add_campaign(changed(scale=9))
    assert store.version("rated") == 1
    shown = rate(store, store.annotator("ann").id, 9)
    assert (shown.task.version, shown.campaign.scale) == (1, 9)


def test_the_same_answers_on_another_scale_are_other_labels(store: Store) -> None:
    fill_with(store, RATING, 1, 1)
    ann = store.annotator("ann", simulated=True).id
    hashes = []
    for scale in (5, 6, 7):
        store.add_campaign(changed(scale=scale))
        rate(store, ann, 5)
        hashes.append(store.label_set_hash())
    assert len(set(hashes)) == 3
    assert [task.version for task in sorted(store.tasks(), key=lambda task: task.version)] == [1, 2, 3]


def test_words_and_pace_apply_at_once_and_to_open_tasks(store: Store) -> None:
    campaign = Campaign(gold_share=0, repeat_share=0, rationale="required")
    fill(store, 3, campaign=campaign)
    ann, bob = store.annotator("ann").id, store.annotator("bob").id
    shown = store.next_assignment(ann)
    assert shown is not None
    store.record(shown.judgement(Answer("tie", rationale="they say the same")))
    before = store.label_set_hash()
    edited = campaign.model_copy(update={"instructions": "Look twice.", "overlap": 2, "rationale": "off"})
    store.add_campaign(edited)
    assert (store.version("main"), store.label_set_hash()) == (1, before)
    assert store.waiting() == 4, "two judges for each of the two that are not finished"
    again = store.next_assignment(ann)
    assert again is not None
    assert again.campaign == edited
    assert len(outstanding(store, ann)) == 2
    assert len(outstanding(store, bob)) == 2
    assert store.waiting() == 0


def test_the_words_that_went_with_a_question_are_part_of_the_label_set(store: Store) -> None:
    hashes = set()
    for words in ("Prefer the kinder one.", "Prefer the shorter one."):
        campaign = Campaign(name="pairs", instructions=words, gold_share=0, repeat_share=0)
        fill(store, 1, campaign=campaign)
        ann = store.annotator("ann", simulated=True).id
        shown = store.next_assignment(ann)
        assert shown is not None
        store.record(shown.judgement(TIE))
        hashes.add(store.label_set_hash())
        store.undo(ann, f"undo {words}")
    assert len(hashes) == 2


def test_gold_whose_answer_is_on_another_scale_is_not_carried_over(store: Store) -> None:
    known, _ = fill_with(store, RATING, 2, 1)
    with store.database.write() as connection:
        said = '{"verdict": "rated", "ratings": {"helpful": {"x": 5}}}'
        connection.exec_driver_sql(f"UPDATE tasks SET gold = '{said}' WHERE id = '{known.id}'")
    rate(store, store.annotator("ann").id, 3)
    store.add_campaign(changed(scale=7))
    assert [task.gold for task in store.tasks() if task.version == 2] == [None]


def test_campaigns_are_served_in_the_order_in_which_they_were_made(store: Store) -> None:
    for name in ("second", "first"):
        fill(store, 1, campaign=Campaign(name=name, gold_share=0, repeat_share=0))
    assert [campaign.name for campaign in store.campaigns()] == ["second", "first"]
    shown = store.assignments(store.annotator("ann").id, 2)
    assert [each.campaign.name for each in shown] == ["second", "first"]
