"""An edit of a task that was shown again: it goes to the first time too, is timed once, and is taken back whole."""

from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from foundation.files import write_jsonl
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Assignment
from labeling_ui.exchange.answer_file import take_answer_file
from labeling_ui.exchange.exports.registry import rows
from labeling_ui.store import tables
from labeling_ui.store.review.review import TaskReview
from labeling_ui.store.review.work import Work
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import LEASE, Clock, fill

BETTER = Answer("both_bad")


def judge_until_a_repeat(store: Store, who: str) -> Assignment:
    """Ties at 20 seconds each, up to the first task that is shown again."""
    fill(store, 30, campaign=Campaign(gold_share=0, repeat_share=0.5, random_share=0))
    for turn in range(30):
        shown = store.next_assignment(who)
        assert shown is not None
        store.record(shown.judgement(Answer("tie"), 20.0, f"k{turn}"))
        if shown.task.repeat_of:
            return shown
    raise AssertionError("no task came again")


def edited(store: Store, who: str, key: str = "e") -> Assignment:
    shown = judge_until_a_repeat(store, who)
    assert store.record(shown.judgement(BETTER, 30.0, key, "edit")) == "edited"
    return shown


def work(store: Store) -> Work:
    (found,) = TaskReview(store.database).work()
    return found


def verdicts(store: Store, shown: Assignment) -> dict[str, str]:
    """What is in force of the repeat, and of its original."""
    names = {shown.task.id: "repeat", shown.task.repeat_of: "original"}
    return {names[each.task_id]: each.answer.verdict for each in store.judgements() if each.task_id in names}


def test_the_time_of_an_edit_counts_once(store: Store) -> None:
    shown = edited(store, store.annotator("ann").id)
    answers = len(list(store.judgements()))
    assert verdicts(store, shown) == {"repeat": "both_bad", "original": "both_bad"}
    found = work(store)
    assert (found.seconds, found.untimed, found.answers) == (20.0 * answers + 30, 0, answers)
    # A log from before copies were left untimed.
    with store.database.write() as connection:
        connection.execute(sa.update(tables.events).values(seconds=30.0).where(tables.events.c.seconds.is_(None)))
    assert work(store).seconds == 20.0 * answers + 30


@pytest.mark.parametrize("key", ["e", ""])
def test_undo_takes_back_the_edit_and_puts_the_older_answer_back(store: Store, key: str) -> None:
    ann = store.annotator("ann").id
    shown = edited(store, ann, key)
    before = len(list(store.judgements()))
    back = store.undo(ann, "u")
    assert back is not None
    assert (back.task, back.shown, back.previous and back.previous.answer) == (shown.task, shown.shown, BETTER)
    assert verdicts(store, shown) == {"original": "tie"}
    assert store.undo(ann, "u") == back, "the same key withdraws nothing more"
    assert len(list(store.judgements())) == before - 1
    assert work(store).withdrawn == 1
    assert store.next_assignment(ann) == back
    assert store.record(back.judgement(Answer("tie"), 1.0, "again")) == "taken"
    assert verdicts(store, shown) == {"repeat": "tie", "original": "tie"}
    assert store.verify() == []
    assert store.history(ann)[0].task_id == shown.task.id


def test_another_undo_goes_on_with_the_answer_before_the_repeat(store: Store) -> None:
    ann = store.annotator("ann").id
    shown = edited(store, ann)
    before = [each.task_id for each in store.history(ann)]
    assert before[0] == shown.task.id
    for key in ("u", "v"):
        back = store.undo(ann, key)
    assert back is not None
    assert back.task.id == before[1]
    assert verdicts(store, shown) == {"original": "tie"}


@pytest.mark.parametrize("first", ["skip", "tie"])
def test_a_place_is_held_as_by_the_answer_that_is_put_back(store: Store, first: str) -> None:
    ann = store.annotator("ann").id
    shown = judge_until_a_repeat(store, ann)
    for key, verdict in (("e", first), ("f", "skip" if first == "tie" else "tie")):
        store.record(shown.judgement(Answer(verdict), 1.0, key, "edit"))  # type: ignore[arg-type]
    assert store.undo(ann, "u") is not None
    assert verdicts(store, shown) == {"original": first}
    assert store.verify() == []


def test_a_repeat_of_nothing_is_not_dealt(store: Store, clock: Clock) -> None:
    ann, bob = store.annotator("ann").id, store.annotator("bob").id
    shown = judge_until_a_repeat(store, ann)
    while shown.task.repeat_of in [each.task_id for each in store.judgements()]:
        assert store.undo(ann, f"u{len(list(store.judgements()))}") is not None
    clock.now += 2 * LEASE
    assert store.next_assignment(bob) is not None  # ends what has lapsed
    dealt = store.assignments(ann, 40)
    assert shown.task.id not in [each.task.id for each in dealt]
    assert shown.task.repeat_of in [each.task.id for each in dealt]


def test_what_others_say_meanwhile_does_not_come_between(store: Store) -> None:
    ann = store.annotator("ann").id
    shown = judge_until_a_repeat(store, ann)
    following = store.next_assignment(ann)
    assert following is not None
    edit = shown.judgement(BETTER, 30.0, "e", "edit")
    other = following.judgement(Answer("tie"), 1.0, "other")
    assert store.record_many([edit, other, edit]) == ["edited", "taken", "repeated"]
    back = store.undo(ann, "u")
    assert back is not None
    assert back.task == following.task
    assert verdicts(store, shown) == {"repeat": "both_bad", "original": "both_bad"}


def test_both_leave_and_come_back_in_a_file(store: Store, tmp_path: Path) -> None:
    ann = store.annotator("ann").id
    shown = edited(store, ann)
    store.undo(ann, "u")
    store.record(shown.judgement(Answer("tie"), 1.0, "again"))
    file, copy = tmp_path / "answers.jsonl", Store(tmp_path / "copy.db")
    number = write_jsonl(file, rows(store, "answers"))
    assert take_answer_file(copy, file) == (number, 0, [])
    assert copy.verify() == []
    assert list(copy.events()) == list(store.events())
    assert list(copy.judgements()) == list(store.judgements())
    assert copy.label_set_hash() == store.label_set_hash()
    assert replace(work(copy), name="") == replace(work(store), name="")
    copy.close()


def test_a_rewrite_that_is_a_response_is_not_kept(store: Store) -> None:
    fill(store, 2)
    ann = store.annotator("ann").id
    for key, text, kept in (("one", " a bad answer\r\n", ""), ("two", "a bad answer, mended", "a bad answer, mended")):
        shown = store.next_assignment(ann)
        assert shown is not None
        better = next(each.id for each in shown.shown if each.response == "a good answer")
        store.record(shown.judgement(Answer("preferred", better, rewrite=text), 1.0, key))
        assert store.history(ann)[0].answer.rewrite == kept
