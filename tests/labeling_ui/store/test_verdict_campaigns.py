"""A verdict's tasks are dealt among the others, and nothing that is said in them is ever a label."""

from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise

import pytest

from foundation.errors import UserError
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Candidate, Message, Prompt, Task
from labeling_ui.exchange.exports.registry import ANSWERS, KINDS, export
from labeling_ui.people.forgetting import forget
from labeling_ui.quality.assessment import agreement, annotators
from labeling_ui.store.store import Store
from labeling_ui.web.card_tickets import TicketSigner
from labeling_ui.web.cards import card
from tests.labeling_ui.exporting import every_kind
from tests.labeling_ui.filling import TIE, Clock, fill, outstanding, prefer

PLAIN = Campaign(gold_share=0, repeat_share=0, random_share=0)
VERDICT = PLAIN.model_copy(update={"name": "verdict-000", "purpose": "verdict"})


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    opened = Store(store_url, clock=Clock())
    yield opened
    opened.close()


def open_verdict(store: Store, number: int, campaign: Campaign = VERDICT) -> list[Task]:
    prompts = [Prompt((Message(role="user", content=f"held out {each}"),)) for each in range(number)]
    pairs = [(Candidate(one.id, "of the candidate"), Candidate(one.id, "of the champion")) for one in prompts]
    tasks = [Task(one[0].prompt_id, (one[0].id, one[1].id), campaign.name) for one in pairs]
    store.add_campaign(campaign)
    store.add_prompts(prompts)
    store.add_candidates(candidate for pair in pairs for candidate in pair)
    store.add_tasks(tasks)
    return tasks


def test_its_tasks_come_among_the_others_at_about_half_of_the_turns(store: Store) -> None:
    fill(store, 40)
    verdict = {task.id for task in open_verdict(store, 40)}
    seen = [each in verdict for name in ("ann", "bob") for each in outstanding(store, store.annotator(name).id)]
    assert sum(seen) == 40
    assert 10 < sum(seen[:40]) < 30
    assert sum(one != other for one, other in pairwise(seen)) > 15


def test_when_only_one_kind_is_left_that_kind_comes(store: Store) -> None:
    open_verdict(store, 3)
    ann = store.annotator("ann").id
    assert len(outstanding(store, ann)) == 3
    fill(store, 3)
    assert len(outstanding(store, ann)) == 3


def test_a_card_has_the_same_fields_and_settings_whichever_it_is(store: Store) -> None:
    main = PLAIN.model_copy(update={"instructions": "Choose the kinder one."})
    fill(store, 10, campaign=main)
    opened = main.model_copy(update={"name": VERDICT.name, "purpose": "verdict"})
    verdict = {task.id for task in open_verdict(store, 10, opened)}
    ann, signer = store.annotator("ann").id, TicketSigner("secret")
    cards: dict[bool, list[dict[str, object]]] = {True: [], False: []}
    for shown in store.assignments(ann, 20):
        made = card(shown, signer)
        rendered = [list(made["rendered"]), made["rendered"]["instructions"]]  # the rest are texts
        cards[shown.task.id in verdict].append({**made, "rendered": rendered})
    of_each = ("id", "ticket", "prompt", "responses")
    assert cards[True]
    assert cards[False]
    assert {tuple(each) for each in cards[True]} == {tuple(each) for each in cards[False]}
    alike = [{name: each[name] for name in each if name not in of_each} for each in cards[True] + cards[False]]
    assert all(each == alike[0] for each in alike)
    assert {len(str(each["id"])) for each in cards[True] + cards[False]} == {len(str(cards[True][0]["id"]))}
    assert "verdict" not in str(cards)


def test_what_is_said_in_it_is_no_label(store: Store) -> None:
    fill(store, 6)
    ann = store.annotator("ann").id
    outstanding(store, ann)
    rows = every_kind(store)
    before = (store.label_set_hash(), store.counts(), store.waiting(), agreement(store), annotators(store))
    open_verdict(store, 5)
    assert (store.label_set_hash(), store.counts(), store.waiting()) == before[:3]
    while shown := store.next_assignment(ann):
        store.record(prefer(shown))
    assert (store.label_set_hash(), store.counts(), store.waiting(), agreement(store), annotators(store)) == before
    assert every_kind(store) == rows
    assert store.waiting(VERDICT.name) == 0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != ANSWERS])
def test_no_export_to_train_on_is_made_of_it_by_name(store: Store, kind: str) -> None:
    open_verdict(store, 2)
    outstanding(store, store.annotator("ann").id)
    with pytest.raises(UserError, match="nothing is to be trained on it"):
        export(store, kind, VERDICT.name)


def test_the_export_of_answers_keeps_it_and_says_what_it_is(store: Store) -> None:
    fill(store, 1)
    open_verdict(store, 2)
    outstanding(store, store.annotator("ann").id)
    purposes = [row["settings"]["purpose"] for row in export(store, ANSWERS)]
    assert sorted(purposes) == ["training", "verdict", "verdict"]


def test_its_prompts_are_remembered_as_judged(store: Store) -> None:
    fill(store, 2)
    verdict = open_verdict(store, 3)
    assert store.judged_prompts() == {task.prompt_id for task in verdict}
    assert store.counts().prompts == 2


def test_after_it_is_closed_nobody_is_asked_and_an_answer_on_its_way_is_kept(store: Store) -> None:
    fill(store, 1)
    open_verdict(store, 4)
    ann, bob = store.annotator("ann"), store.annotator("bob")
    held = next(each for each in store.assignments(bob.id, 5) if each.task.campaign == VERDICT.name)
    store.close_campaign(VERDICT.name)
    assert all(each.task.campaign == "main" for each in store.assignments(ann.id, 5))
    assert store.waiting(VERDICT.name) == 0
    assert store.record(held.judgement(TIE)) == "taken"
    assert not store.verify()


def test_progress_counts_its_tasks_as_it_counts_others(store: Store) -> None:
    fill(store, 3)
    open_verdict(store, 2)
    ann = store.annotator("ann").id
    assert asdict(store.progress(ann)) == {"done": 0, "total": 5}


def test_the_votes_of_somebody_who_is_forgotten_stay_or_go_with_their_judgements(store: Store) -> None:
    open_verdict(store, 3)
    ann = store.annotator("Ann", simulated=False).id
    outstanding(store, ann)
    pseudonym = forget(store.database, "Ann", "keep").name
    assert store.waiting(VERDICT.name) == 0
    assert [each.annotator.id for each in store.log(VERDICT.name)] == [ann] * 3
    forget(store.database, pseudonym, "delete")
    assert store.waiting(VERDICT.name) == 3
    assert not list(store.log(VERDICT.name))


def test_settings_of_an_older_store_are_those_of_a_campaign_to_learn_from() -> None:
    assert not Campaign.model_validate({"name": "old"}).is_verdict
