"""Another kind under the same name: a new version with tasks of its own, about the same responses."""

import json
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

from foundation.errors import UserError
from foundation.files import write_jsonl
from labeling_ui.assignment.regrouping import regrouped
from labeling_ui.campaign import Campaign, Kind
from labeling_ui.data_model import Answer, Assignment, Task
from labeling_ui.exchange.answer_file import take_answer_file
from labeling_ui.exchange.exports.registry import export, rows
from labeling_ui.store.store import Store
from labeling_ui.web.admin.figures import read_overview
from tests.labeling_ui.exporting import every_kind
from tests.labeling_ui.filling import fill, fill_with, prefer

PAIRS = Campaign(gold_share=0, repeat_share=0, random_share=0)
RANKING = Campaign(kind="ranking", responses=3, gold_share=0, repeat_share=0)
RATING = Campaign(kind="rating", aspects=("helpful",), scale=5, gold_share=0, repeat_share=0)
OF_KIND: dict[Kind, Campaign] = {"pairwise": PAIRS, "ranking": RANKING, "rating": RATING}


def answered(shown: Assignment) -> Answer:
    """The first is best, in whatever kind is asked for."""
    ids = sorted(one.id for one in shown.shown)
    return {
        "pairwise": Answer("preferred", ids[0], 2),
        "ranking": Answer("ranked", ranking=tuple((one,) for one in ids)),
        "rating": Answer("rated", ratings={"helpful": {ids[0]: 4}}),
    }[shown.campaign.kind]


def judge_all(store: Store, who: str) -> list[Assignment]:
    seen, name = [], store.annotator(who).id
    while shown := store.next_assignment(name):
        assert store.record(shown.judgement(answered(shown), key=f"{who} {shown.task.id}")) == "taken"
        seen.append(shown)
    return seen


@pytest.mark.parametrize("before", ["pairwise", "ranking", "rating"])
@pytest.mark.parametrize("after", ["pairwise", "ranking", "rating"])
def test_each_kind_can_follow_each(store: Store, before: Kind, after: Kind) -> None:
    if before == after:
        return
    if before == "rating":
        pairs = fill(store, 3, campaign=Campaign(name="pairs"), gold=3)  # which nobody is asked alone
        store.add_campaign(RATING)
        store.add_tasks(Task(pair.prompt_id, (one,)) for pair in pairs for one in pair.candidates)
    else:
        fill_with(store, OF_KIND[before], 3, 2 if before == "pairwise" else 3)
    ann = store.annotator("ann").id
    first, held = store.assignments(ann, 2)
    store.record(first.judgement(answered(first), key="first"))
    labels = store.label_set_hash()
    store.add_campaign(OF_KIND[after])
    assert store.version("main") == 2
    assert store.label_set_hash() == labels, "what was said means what it meant"
    assert store.assignment(first.task.id, ann).campaign.kind == before, "an edit is in the kind of its time"
    edited = first.judgement(answered(first), key="edited", action="edit")
    assert store.record(edited) == "edited"
    assert store.record(held.judgement(answered(held), key="held")) == "taken", "as it was on the screen"
    seen = judge_all(store, "ann")
    assert {(one.task.version, one.campaign.kind) for one in seen} == {(2, after)}
    assert store.verify() == []
    assert store.waiting() == 0


def test_pairs_of_a_prompt_are_ranked_together_and_nothing_of_them_is_lost(store: Store) -> None:
    tasks = fill_with(store, RANKING.model_copy(update={"responses": 5}), 2, 5)
    for task in tasks:
        pairs = [Task(task.prompt_id, pair, "pairs") for pair in combinations(task.candidates, 2)]
        store.add_campaign(PAIRS.model_copy(update={"name": "pairs"}))
        store.add_tasks(pairs)
    store.set_priorities({pairs[0].id: 3.0})
    store.add_campaign(RANKING.model_copy(update={"name": "pairs", "overlap": 2}))
    new = [task for task in store.tasks() if task.campaign == "pairs" and task.version == 2]
    assert Counter(len(task.candidates) for task in new) == {3: 4}
    for task in tasks:
        mine = [set(one.candidates) for one in new if one.prompt_id == task.prompt_id]
        assert set.union(*mine) == set(task.candidates)
    assert store.waiting("pairs") == 8, "with the overlap of now"


def test_tasks_that_nobody_was_asked_do_not_stay_in_another_kind(store: Store) -> None:
    fill(store, 2, campaign=PAIRS)
    store.add_campaign(RATING)
    assert store.version("main") == 2
    assert {one.campaign.kind for one in judge_all(store, "ann")} == {"rating"}
    assert len(list(store.judgements())) == 4


def test_known_answers_of_another_kind_are_not_asked(store: Store) -> None:
    fill(store, 3, campaign=PAIRS, gold=1)
    store.add_campaign(RANKING)
    new = [task for task in store.tasks() if task.version == 2]
    assert len(new) == 2
    assert [task.gold for task in new] == [None, None]


def test_a_kind_in_which_nobody_would_be_asked_anything_is_refused(store: Store) -> None:
    fill_with(store, RATING, 2, 1)
    with pytest.raises(UserError, match=r"no two responses to one prompt.*--set label.name=pairwise"):
        store.add_campaign(PAIRS)
    assert (store.version("main"), store.campaigns(), store.waiting()) == (1, [RATING], 2)


def test_the_way_back_is_a_third_version(store: Store) -> None:
    fill(store, 2, campaign=PAIRS)
    judge_all(store, "ann")
    for campaign in (RANKING, PAIRS):
        store.add_campaign(campaign)
        judge_all(store, "ann")
    said = [(row["version"], row["settings"]["kind"]) for row in export(store, "answers")]
    assert Counter(said) == {(1, "pairwise"): 2, (2, "ranking"): 2, (3, "pairwise"): 2}


def test_two_kinds_under_one_name_are_exported_counted_and_moved_as_what_they_are(
    store: Store, store_url: str, tmp_path: Path
) -> None:
    fill(store, 4, 2, campaign=PAIRS)
    shown = store.next_assignment(store.annotator("ann").id)
    assert shown is not None
    store.record(prefer(shown, key="one"))
    store.add_campaign(RATING)
    assert [(each.version, each.waiting) for each in read_overview(store).campaigns] == [(1, 0), (2, 16)]
    judge_all(store, "ann")
    judge_all(store, "bob")
    found = every_kind(store) | {"answers": export(store, "answers")}
    assert len(found["preferences"]) == 1
    assert len(found["ratings"]) == 16
    assert {row["scale"] for row in found["ratings"]} == {5}
    overview = read_overview(store)
    now = [(each.version, each.current, each.kind, each.tasks, each.done, each.waiting) for each in overview.campaigns]
    assert now == [(1, False, "pairwise", 4, 1, 0), (2, True, "rating", 8, 16, 0)]
    assert set(overview.report.agreement) == {"winner", "helpful (1 to 5)"}
    file = tmp_path / "answers.jsonl"
    number = write_jsonl(file, rows(store, "answers"))
    copy = Store(tmp_path / "copy.db")
    assert take_answer_file(copy, file) == (number, 0, [])
    assert (copy.label_set_hash(), copy.verify()) == (store.label_set_hash(), [])
    assert (copy.version("main"), copy.campaigns()[0].kind) == (2, "rating")
    again = every_kind(copy) | {"answers": export(copy, "answers")}
    for kind, of_it in found.items():
        assert json.dumps(again[kind]) == json.dumps(of_it), kind
    copy.close()


@pytest.mark.parametrize("number", range(1, 12))
@pytest.mark.parametrize("shown", [2, 3, 4, 9])
def test_every_response_is_asked_about_as_evenly_as_can_be(number: int, shown: int) -> None:
    ids = [f"c{each:02}" for each in range(number)]
    ranked = regrouped(ids, RANKING.model_copy(update={"responses": shown}))
    pairs = regrouped([*ids, *ids], PAIRS)
    assert regrouped(ids, RATING) == [(one,) for one in ids]
    if number == 1:
        assert ranked == pairs == []
        return
    assert {one for group in ranked for one in group} == {one for pair in pairs for one in pair} == set(ids)
    assert {len(set(group)) for group in ranked} == {min(shown, number)}
    assert len(ranked) == -(-number // min(shown, number))
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
    assert set(Counter(one for pair in pairs for one in pair).values()) == {2 if number > 2 else 1}
