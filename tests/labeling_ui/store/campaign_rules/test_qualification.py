"""Nobody is asked anything of a campaign before they have shown that they judge known answers as it does."""

from dataclasses import replace

import pytest

from foundation.errors import UserError
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Assignment
from labeling_ui.people.accounts import Accounts
from labeling_ui.store.campaign_rules.qualification import Feedback, feedback_on
from labeling_ui.store.campaign_rules.rules import CampaignRules
from labeling_ui.store.campaigns import settings_now
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import LEASE, TIE, Clock, fill, fill_with, prefer

CAMPAIGN = Campaign(
    qualification=3, qualification_share=0.66, qualification_attempts=2, gold_share=0, repeat_share=0, random_share=0
)
TASKS, GOLD = 10, 6


def answer(store: Store, who: str, good: bool = True) -> Assignment:
    (shown,) = store.assignments(who, 2)
    side = [one.response for one in shown.shown].index("a good answer" if good else "a bad answer")
    assert store.record(prefer(shown, side)) == "taken"
    return shown


def attempt(store: Store, who: str, *good: bool) -> list[Assignment]:
    return [answer(store, who, each) for each in good]


@pytest.fixture
def ann(store: Store) -> str:
    fill(store, TASKS, 1, campaign=CAMPAIGN, gold=GOLD)
    return store.annotator("ann").id


def test_whoever_passes_is_asked_everything(store: Store, ann: str) -> None:
    assert (store.progress(ann).done, store.progress(ann).total) == (0, 3)
    asked = attempt(store, ann, True, False, True)
    assert all(each.task.gold for each in asked)
    assert len({each.task.id for each in asked}) == 3
    rest = store.assignments(ann, 2)
    assert len(rest) == 2
    assert not any(each.task.gold for each in rest)
    assert (store.progress(ann).done, store.progress(ann).total) == (3, 3 + TASKS - GOLD)


def test_one_task_is_dealt_at_a_time(store: Store, ann: str) -> None:
    first = store.assignments(ann, 2)
    assert len(first) == 1, "the next one waits until the feedback was seen"
    assert store.assignments(ann, 2) == first


def feedback(store: Store, task_id: str, annotator_id: str) -> Feedback | None:
    with store.database.read() as connection:
        return feedback_on(connection, settings_now(connection), task_id, annotator_id)


def test_each_answer_is_told_whether_it_is_right(store: Store, ann: str) -> None:
    shown = store.assignments(ann, 2)[0]
    assert feedback(store, shown.task.id, ann) is None, "not before it is answered"
    answer(store, ann, good=False)
    told = feedback(store, shown.task.id, ann)
    assert told is not None
    assert (told.right, told.known) == (0.0, shown.task.gold)
    assert (told.standing.state, told.standing.answered, told.standing.right) == ("open", 1, 0.0)
    attempt(store, ann, True, True)
    done = feedback(store, shown.task.id, ann)
    assert done is not None
    assert done.standing.state == "passed"
    other = store.assignments(ann, 1)[0]
    store.record(prefer(other))
    assert feedback(store, other.task.id, ann) is None


def test_whoever_fails_tries_again_on_other_tasks_and_then_is_asked_nothing(store: Store, ann: str) -> None:
    asked = attempt(store, ann, True, False, False)
    assert store.progress(ann).total == 6
    asked += attempt(store, ann, False, True, False)
    assert len({each.task.id for each in asked}) == 6
    assert store.assignments(ann, 2) == []
    assert (store.progress(ann).done, store.progress(ann).total) == (6, 6)
    (standing,) = CampaignRules(store.database).unqualified(ann)
    assert standing.state == "failed"


def test_others_are_not_kept_waiting(store: Store, ann: str) -> None:
    attempt(store, ann, False, False, False)
    ben = store.annotator("ben").id
    attempt(store, ben, True, True, True)
    assert store.assignments(ben, 2)


def test_an_answer_of_the_round_is_final(store: Store, ann: str) -> None:
    shown = answer(store, ann, good=False)
    with pytest.raises(UserError, match="is final"):
        store.undo(ann, "back")
    again = store.assignment(shown.task.id, ann).judgement(TIE, key="k", action="edit")
    with pytest.raises(UserError, match="is final"):
        store.record(again)
    assert len(list(store.judgements())) == 1


def test_the_same_answer_sent_again_counts_once(store: Store, ann: str) -> None:
    (shown,) = store.assignments(ann, 2)
    said = prefer(shown, key="k")
    assert store.record(said) == "taken"
    assert store.record(said) == "repeated"
    (standing,) = CampaignRules(store.database).unqualified(ann)
    assert standing.answered == 1


def test_a_task_whose_lease_ran_out_comes_again(store: Store, ann: str, clock: Clock) -> None:
    (shown,) = store.assignments(ann, 2)
    clock.now += LEASE
    store.assignments(store.annotator("ben").id, 1)  # ends the leases of others that have run out
    assert [each.task for each in store.assignments(ann, 2)] == [shown.task]


def test_a_lead_can_give_another_chance_or_let_somebody_pass(store: Store, ann: str) -> None:
    rules = CampaignRules(store.database)
    attempt(store, ann, False, False, False)
    rules.reopen("main", "ann")
    attempt(store, ann, False, False, False)
    assert store.assignments(ann, 2) == [], "no known answers are left for another attempt"
    with pytest.raises(UserError, match=r"has 0 known answers that this person has not seen"):
        rules.reopen("main", "ann")
    rules.let_pass("main", "ann")
    assert store.assignments(ann, 2)
    (named,) = rules.standings()
    assert (named.name, named.standing.state) == ("ann", "passed")


@pytest.mark.parametrize(
    ("campaign", "name", "said"),
    [
        ("other", "ann", 'there is no campaign "other"'),
        ("main", "nobody", 'nobody of the name "nobody"'),
        ("plain", "ann", "has no qualification round"),
        ("main", "ann", "has ended an attempt"),
    ],
)
def test_who_and_where_must_be_there(store: Store, ann: str, campaign: str, name: str, said: str) -> None:
    store.add_campaign(Campaign(name="plain"))
    with pytest.raises(UserError, match=said):
        CampaignRules(store.database).reopen(campaign, name)


def test_another_campaign_goes_on(store: Store, ann: str) -> None:
    fill(store, 2, 1, campaign=Campaign(name="plain", gold_share=0, repeat_share=0), asked="another")
    attempt(store, ann, False, False, False)
    attempt(store, ann, False, False, False)
    assert {each.task.campaign for each in store.assignments(ann, 2)} == {"plain"}


def test_no_pairs_of_a_verdict_come_before_it_is_passed(store: Store, ann: str) -> None:
    fill(store, 4, 1, campaign=CAMPAIGN.for_verdict("verdict", 1), asked="compare")
    asked = attempt(store, ann, True, True, True)
    assert {each.task.campaign for each in asked} == {"main"}
    seen = {each.task.campaign for each in store.assignments(ann, 8)}
    assert "verdict" in seen


def test_who_works_already_qualifies_as_well(store: Store) -> None:
    fill(store, TASKS, 1, campaign=CAMPAIGN.model_copy(update={"qualification": 0}), gold=GOLD)
    ann = store.annotator("ann").id
    held = store.assignments(ann, 2)
    store.add_campaign(CAMPAIGN)
    still = [each.task for each in store.assignments(ann, 2)]
    assert still == [each.task for each in held], "what is on the screen stays"
    for each in held:
        store.record(prefer(each))
    (shown,) = store.assignments(ann, 2)
    assert shown.task.gold


def test_simulated_annotators_need_none(store: Store) -> None:
    fill(store, TASKS, 1, campaign=CAMPAIGN, gold=GOLD)
    robot = store.annotator("robot", simulated=True).id
    assert not any(each.task.gold for each in store.assignments(robot, 2))


def test_deleting_what_somebody_said_leaves_nothing_of_their_attempts(store: Store) -> None:
    fill(store, TASKS, 1, campaign=CAMPAIGN, gold=GOLD)
    ann = Accounts(store.database).add("ann").id
    attempt(store, ann, True, True, True)
    Accounts(store.database).forget("ann", "delete")
    assert CampaignRules(store.database).standings() == []


def test_a_shorter_round_ends_an_attempt_that_is_long_enough(store: Store, ann: str) -> None:
    attempt(store, ann, True, True)
    store.add_campaign(CAMPAIGN.model_copy(update={"qualification": 2}))
    assert len(store.assignments(ann, 2)) == 2
    assert CampaignRules(store.database).unqualified(ann) == []


def test_on_a_short_scale_a_known_rating_has_to_be_met(store: Store) -> None:
    asked = Campaign(
        kind="rating", scale=2, aspects=("helpful",), qualification=2, gold_share=0, repeat_share=0, random_share=0
    )
    tasks = fill_with(store, asked, 6, 1)
    known = [replace(task, gold=Answer("rated", ratings={"helpful": {task.candidates[0]: 2}})) for task in tasks]
    store.add_tasks([replace(each, prompt_id=each.prompt_id, id="gold " + each.id) for each in known])
    ann = store.annotator("ann").id
    (shown,) = store.assignments(ann, 1)
    assert shown.task.gold is not None
    store.record(shown.judgement(Answer("rated", ratings={"helpful": {shown.shown[0].id: 1}})))
    told = feedback(store, shown.task.id, ann)
    assert told is not None
    assert told.right == 0.0
