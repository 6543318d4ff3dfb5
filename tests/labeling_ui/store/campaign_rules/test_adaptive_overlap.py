"""More annotators for a task only where its vote is in doubt: dealing, progress and what is waited for agree."""

import pytest
import sqlalchemy as sa

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Assignment
from labeling_ui.people.accounts import Accounts
from labeling_ui.quality.skill_keeping import SkillKeeper, estimate_skills
from labeling_ui.store import tables
from labeling_ui.store.campaign_rules.adaptive_overlap import follow_votes, set_skills
from labeling_ui.store.review.changes import Change
from labeling_ui.store.review.review import TaskReview
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import LEASE, TIE, Clock, fill, prefer

ADAPTIVE = Campaign(overlap=1, max_overlap=3, confidence=0.9, gold_share=0, repeat_share=0, random_share=0)


def people(store: Store, number: int) -> list[str]:
    return [store.annotator(f"annotator {each}").id for each in range(number)]


def say(store: Store, who: str, good: bool = True) -> Assignment:
    shown = store.next_assignment(who)
    assert shown is not None
    side = [one.response for one in shown.shown].index("a good answer" if good else "a bad answer")
    assert store.record(prefer(shown, side)) == "taken"
    return shown


def overlaps(store: Store) -> list[int]:
    with store.database.read() as connection:
        return sorted(connection.execute(sa.select(tables.tasks.c.overlap)).scalars())


def one_task(store: Store, campaign: Campaign = ADAPTIVE) -> str:
    (task,) = fill(store, 1, None, campaign=campaign)
    return task.id


def test_those_who_agree_are_enough(store: Store) -> None:
    one_task(store)
    ann, ben, cid = people(store, 3)
    assert store.waiting() == 1
    say(store, ann)
    assert (store.waiting(), overlaps(store)) == (1, [2]), "one vote of a stranger is right with 0.8"
    assert store.next_assignment(ann) is None
    assert (store.progress(ann).done, store.progress(ann).total) == (1, 1)
    assert store.progress(ben).total == 1
    say(store, ben)
    assert (store.waiting(), overlaps(store)) == (0, [2])
    assert store.next_assignment(cid) is None
    assert store.progress(cid).total == 0


def test_those_who_differ_are_judged_by_a_third_and_by_nobody_more(store: Store) -> None:
    one_task(store)
    ann, ben, cid, dan = people(store, 4)
    say(store, ann)
    say(store, ben, good=False)
    assert (store.waiting(), overlaps(store)) == (1, [3])
    say(store, cid)
    assert (store.waiting(), overlaps(store)) == (0, [3]), "4 to 1 is 0.8, but three are the most"
    assert store.next_assignment(dan) is None


def test_never_is_more_than_one_place_open_in_doubt(store: Store) -> None:
    one_task(store)
    ann, ben, cid = people(store, 3)
    say(store, ann)
    assert store.next_assignment(ben) is not None
    assert store.next_assignment(cid) is None, "what Ben says may settle it"


def test_a_place_whose_lease_has_run_out_is_given_to_somebody_else(store: Store, clock: Clock) -> None:
    one_task(store)
    ann, ben, cid = people(store, 3)
    say(store, ann)
    late = store.next_assignment(ben)
    assert late is not None
    clock.now += LEASE
    say(store, cid, good=False)
    assert overlaps(store) == [3]
    assert store.record(prefer(late)) == "taken", "nobody's work is thrown away"
    assert store.waiting() == 0


def test_a_skip_is_no_vote(store: Store) -> None:
    one_task(store)
    ann, ben, cid = people(store, 3)
    shown = store.next_assignment(ann)
    assert shown is not None
    store.record(shown.judgement(Answer("skip", reason="unclear")))
    assert (store.waiting(), overlaps(store)) == (1, [1])
    say(store, ben)
    say(store, cid)
    assert (store.waiting(), overlaps(store)) == (0, [2])


def test_what_too_many_skipped_waits_for_a_reviewer(store: Store) -> None:
    one_task(store)
    for who in people(store, 3):
        shown = store.next_assignment(who)
        assert shown is not None
        store.record(shown.judgement(Answer("skip", reason="unclear")))
    assert store.waiting() == 1
    Accounts(store.database).add("lead", "reviewer")
    say(store, store.annotator("lead").id)
    assert store.waiting() == 0


def test_undo_and_edit_change_what_is_wanted(store: Store) -> None:
    one_task(store)
    ann, ben, cid = people(store, 3)
    say(store, ann)
    shown = say(store, ben, good=False)
    assert overlaps(store) == [3]
    mine = store.assignment(shown.task.id, ben)
    other = next(one.id for one in mine.shown if one.response == "a good answer")
    assert store.record(mine.judgement(Answer("preferred", other), key="k", action="edit")) == "edited"
    assert (overlaps(store), store.waiting()) == ([2], 0)
    assert store.undo(ben, "back") is not None
    assert (overlaps(store), store.waiting()) == ([2], 1)
    assert store.undo(ann, "back too") is not None
    assert (overlaps(store), store.waiting()) == ([1], 1)
    assert store.next_assignment(cid) is None, "Ann and Ben hold it"


def test_ties_can_settle_a_task(store: Store) -> None:
    one_task(store, ADAPTIVE.model_copy(update={"confidence": 0.85}))
    for who in people(store, 2):
        shown = store.next_assignment(who)
        assert shown is not None
        store.record(shown.judgement(TIE))
    assert (overlaps(store), store.waiting()) == ([2], 0)


def test_gold_tasks_and_repeats_are_left_alone(store: Store) -> None:
    mixed = ADAPTIVE.model_copy(update={"gold_share": 0.5, "repeat_share": 0.5})
    fill(store, 20, None, campaign=mixed, gold=5)
    for who in people(store, 3):
        while shown := store.next_assignment(who):
            store.record(prefer(shown))
    with store.database.read() as connection:
        tasks = tables.tasks.c
        special = tasks.gold.is_not(None) | tasks.reserved_for.is_not(None)
        assert set(connection.execute(sa.select(tasks.first_overlap).where(special)).scalars()) == {None}
        assert set(connection.execute(sa.select(tasks.overlap).where(special)).scalars()) == {1}


def test_tasks_with_an_overlap_of_their_own_keep_it(store: Store) -> None:
    fill(store, 1, 1, campaign=ADAPTIVE)  # as imported votes and live pairs have
    say(store, people(store, 1)[0])
    assert (store.waiting(), overlaps(store)) == (0, [1])


def test_a_decided_or_removed_task_is_not_waited_for_and_one_that_comes_back_is(store: Store) -> None:
    task_id = one_task(store)
    ann, ben = people(store, 2)
    say(store, ann)
    review = TaskReview(store.database)
    Accounts(store.database).add("lead", "admin")
    lead = store.annotator("lead").id
    ways: list[tuple[Change, Change]] = [("remove", "restore"), ("pause", "resume")]
    for away, back in ways:
        assert review.change([task_id], away, lead) == [task_id]
        assert (store.waiting(), store.next_assignment(ben)) == (0, None)
        assert review.change([task_id], back, lead) == [task_id]
        assert store.waiting() == 1
    good = next(each.answer for each in store.judgements())
    review.decide(task_id, lead, good)
    assert (store.waiting(), store.next_assignment(ben)) == (0, None)
    review.reopen(task_id, lead)
    assert store.waiting() == 1
    say(store, ben)
    assert store.waiting() == 0


def test_forgetting_somebody_with_their_answers_asks_others_again(store: Store) -> None:
    one_task(store)
    ann = Accounts(store.database).add("ann").id
    (ben,) = people(store, 1)
    say(store, ann)
    say(store, ben)
    assert store.waiting() == 0
    Accounts(store.database).forget("ann", "delete")
    assert (store.waiting(), overlaps(store)) == (1, [2])


def test_settings_apply_to_tasks_at_once_and_back(store: Store) -> None:
    one_task(store, ADAPTIVE.model_copy(update={"max_overlap": None}))
    ann, ben = people(store, 2)
    say(store, ann)
    assert (store.waiting(), overlaps(store)) == (0, [1])
    store.add_campaign(ADAPTIVE)
    assert (store.waiting(), overlaps(store)) == (1, [2])
    store.add_campaign(ADAPTIVE.model_copy(update={"confidence": 0.75}))
    assert (store.waiting(), overlaps(store)) == (0, [1])
    store.add_campaign(ADAPTIVE)
    say(store, ben, good=False)
    assert overlaps(store) == [3]
    store.add_campaign(ADAPTIVE.model_copy(update={"max_overlap": 2}))
    assert (store.waiting(), overlaps(store)) == (0, [2])
    store.add_campaign(ADAPTIVE.model_copy(update={"max_overlap": None}))
    assert (store.waiting(), overlaps(store)) == (0, [1])


def test_a_new_version_begins_with_the_overlap_of_old(store: Store) -> None:
    one_task(store)
    ann, ben = people(store, 2)
    say(store, ann)
    say(store, ben, good=False)
    rated = Campaign(**{**dict(ADAPTIVE), "kind": "rating", "max_overlap": None, "purpose": "training"})
    store.add_campaign(rated)
    assert store.waiting() == 2, "two responses to rate, once each"
    store.add_campaign(ADAPTIVE)
    assert store.waiting() == 1


def test_skills_decide_who_is_enough(store: Store) -> None:
    fill(store, 2, None, campaign=ADAPTIVE)
    ann, ben = people(store, 2)
    with store.database.write() as connection:
        set_skills(connection, "main", {ann: 0.95, ben: 0.7, "nobody": 0.9})
    say(store, ann)
    assert overlaps(store) == [1, 1], "Ann alone is enough"
    say(store, ben)
    assert overlaps(store) == [1, 2]


def who_agree(store: Store) -> str:
    """Two who agree on 20 tasks, of whom the first has judged ten more; returns the id of a third."""
    fill(store, 30, None, campaign=ADAPTIVE)
    ann, ben, cid = people(store, 3)
    for _ in range(30):
        say(store, ann)
    for _ in range(20):
        say(store, ben)
    return cid


def test_an_estimate_is_made_as_answers_come_in(store: Store) -> None:
    keeper = SkillKeeper(store)
    assert keeper.keep() == 0, "there is nothing to learn from"
    cid = who_agree(store)
    assert (overlaps(store), store.waiting()) == ([2] * 30, 10)
    assert keeper.keep() == 10, "whoever is always borne out is enough alone"
    assert (store.waiting(), store.next_assignment(cid)) == (0, None)
    assert keeper.keep() == 0, "nothing was said since"
    assert all(accuracy > 0.9 for accuracy in skills(store).values())


def skills(store: Store) -> dict[str, float]:
    from labeling_ui.store.campaign_rules.rule_tables import annotator_skills

    with store.database.read() as connection:
        found = sa.select(annotator_skills.c.annotator_id, annotator_skills.c.accuracy)
        return {who: accuracy for who, accuracy in connection.execute(found)}


def test_an_estimate_that_was_interrupted_is_finished_by_the_next(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    who_agree(store)

    def killed(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("labeling_ui.quality.skill_keeping.follow_votes", killed)
        with pytest.raises(KeyboardInterrupt):
            estimate_skills(store, "main")
    assert skills(store)
    assert estimate_skills(store, "main") == 10
    assert estimate_skills(store, "main") == 0
    assert_settled(store)


def assert_settled(store: Store) -> None:
    """No task is finished in doubt, and none is asked without need."""
    with store.database.write() as connection:
        for each in store.campaigns():
            assert follow_votes(connection, each) == 0


def test_a_log_taken_into_another_store_goes_on_there(store: Store, tmp_path: object) -> None:
    one_task(store)
    ann, ben = people(store, 2)
    say(store, ann)
    say(store, ben, good=False)
    other = Store(f"sqlite:///{tmp_path}/other.db")
    other.take_log(list(store.log()))
    assert (other.waiting(), overlaps(other)) == (1, [3])
    cid = other.annotator("cid").id
    say(other, cid)
    assert (other.waiting(), other.verify()) == (0, [])
    other.close()
