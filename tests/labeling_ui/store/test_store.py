"""The label store on both databases: what is kept, who is given what, and what becomes of each answer."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from foundation.errors import UserError
from labeling_ui.assignment.next_task import REPEAT_DISTANCE
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Candidate, Judgement, Message, Prompt, Task
from labeling_ui.store.judgements import delete_judgements
from labeling_ui.store.store import Progress, Store
from tests.labeling_ui.filling import TIE, Clock, fill, fill_with, prefer

LEASE = Campaign().lease_minutes * 60


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(store_url: str, clock: Clock) -> Iterator[Store]:
    store = Store(store_url, clock)
    yield store
    assert store.verify() == []
    store.close()


def outstanding(store: Store, annotator_id: str) -> list[str]:
    """Ids of the tasks that the annotator is given until none is left, all answered as a tie."""
    seen = []
    while shown := store.next_assignment(annotator_id):
        seen.append(shown.task.id)
        assert store.record(shown.judgement(TIE)) == "taken"
    return seen


# --- what is kept ---


def test_adding_twice_adds_nothing(store: Store) -> None:
    prompt = Prompt((Message(role="user", content="hello"),), references=("hi",))
    candidates = [Candidate(prompt.id, "one", {"model": "m", "seed": 3}), Candidate(prompt.id, "two")]
    task = Task(prompt.id, (candidates[0].id, candidates[1].id), gold=Answer("preferred", candidates[0].id, 2))
    assert (store.add_prompts([prompt]), store.add_prompts([prompt])) == (1, 0)
    assert (store.add_candidates(candidates), store.add_candidates(candidates)) == (2, 0)
    assert (store.add_tasks([task], 2), store.add_tasks([task], 2)) == (1, 0)
    assert store.prompts() == [prompt]
    assert store.candidates() == sorted(candidates, key=lambda candidate: candidate.id)
    assert store.tasks() == [task]
    assert store.campaigns() == [Campaign()], "the campaign main is made where it is missing"


def test_a_campaign_can_change_its_settings_but_not_its_kind(store: Store) -> None:
    fill(store, 1, campaign=Campaign(name="pairs"))
    store.add_campaign(Campaign(name="pairs", instructions="Look twice.", overlap=3))
    store.add_campaign(Campaign(name="empty"))
    store.add_campaign(Campaign(name="empty", kind="rating"))
    assert [campaign.instructions for campaign in store.campaigns()] == ["", "Look twice."]
    assert store.campaigns()[0].kind == "rating"
    with pytest.raises(UserError, match="pairwise tasks already"):
        store.add_campaign(Campaign(name="pairs", kind="ranking"))


def test_tasks_take_their_overlap_from_the_campaign(store: Store) -> None:
    campaign = Campaign(overlap=3)
    store.add_campaign(campaign)
    prompt = Prompt((Message(role="user", content="hello"),))
    candidates = [Candidate(prompt.id, text) for text in "abc"]
    store.add_prompts([prompt])
    store.add_candidates(candidates)
    store.add_tasks([Task(prompt.id, (candidates[0].id, candidates[1].id))])
    assert store.waiting() == 3
    store.add_tasks([Task(prompt.id, (candidates[0].id, candidates[2].id))], overlap=1)
    assert store.waiting() == 4


def test_what_refers_to_nothing_is_refused(store: Store) -> None:
    with pytest.raises(UserError, match="needs its prompt"):
        store.add_candidates([Candidate("no such prompt", "hello")])
    with pytest.raises(UserError, match="overlap is 0"):
        store.add_tasks([], overlap=0)
    with pytest.raises(UserError, match="no annotator"):
        store.next_assignment("nobody")
    task, other = fill(store, 2)
    with pytest.raises(UserError, match="shows 2"):
        store.add_tasks([Task(task.prompt_id, (task.candidates[0],) * 2)])
    with pytest.raises(UserError, match=r"candidates, in the store first .*Nothing of this step was saved"):
        store.add_tasks([Task(task.prompt_id, ("unknown", task.candidates[0]))])
    with pytest.raises(UserError, match="in the store first"):
        store.add_tasks([Task(task.prompt_id, other.candidates)])
    with pytest.raises(UserError, match='no campaign "other"'):
        store.add_tasks([Task(task.prompt_id, task.candidates, "other")])
    with pytest.raises(UserError, match="finite"):
        store.set_priorities({task.id: float("nan")})
    assert store.set_priorities({task.id: 1.0, "unknown": 2.0}) == 1
    assert store.counts().tasks == 2


def test_a_simulated_annotator_never_passes_for_a_person(store: Store) -> None:
    robot = store.annotator("robot", simulated=True)
    assert store.annotator("  robot ", simulated=True) == robot
    with pytest.raises(UserError, match="simulated annotator"):
        store.annotator("robot")
    ann = store.annotator("ann")
    assert store.annotator("ann") == ann
    with pytest.raises(UserError, match="a person"):
        store.annotator("ann", simulated=True)
    with pytest.raises(UserError, match="1 to 100 characters"):
        store.annotator("   ")
    assert [each.name for each in store.annotators()] == ["ann", "robot"]


def test_a_persons_id_says_nothing_of_the_name(tmp_path: Path) -> None:
    ids = set()
    for name in ("one.db", "two.db"):
        store = Store(tmp_path / name)
        ids.add(store.annotator("ann").id)
        store.close()
    assert len(ids) == 2


# --- who is given what ---


def test_what_was_answered_comes_back_as_it_was_given(store: Store, clock: Clock) -> None:
    (task,) = fill(store, 1)
    ann = store.annotator("ann")
    shown = store.next_assignment(ann.id)
    assert shown is not None
    assert (shown.task, shown.campaign.name, shown.previous) == (task, "main", None)
    assert {one.response for one in shown.shown} == {"a good answer", "a bad answer"}
    given = shown.judgement(Answer("preferred", shown.shown[1].id, 3, rationale="it's “fine” ✓"), 4.25, "k1")
    assert store.record(given) == "taken"
    (kept,) = store.judgements()
    assert replace(kept, created_at="") == given
    assert kept.created_at == "1970-01-12T13:46:40.000+00:00"
    assert kept.side == "right"
    assert store.next_assignment(ann.id) is None
    assert store.progress(ann.id) == Progress(done=1, total=1)


@pytest.mark.parametrize("kind", ["ranking", "rating"])
def test_rankings_and_ratings_are_kept_as_they_were_given(store: Store, kind: str) -> None:
    campaign = Campaign.model_validate({"name": "other", "kind": kind, "aspects": ["clear"]})
    fill_with(store, campaign, prompts=1, responses=3 if kind == "ranking" else 1)
    shown = store.next_assignment(store.annotator("ann").id)
    assert shown is not None
    ids = [one.id for one in shown.shown]
    said = (
        Answer("ranked", ranking=((ids[2],), (ids[0], ids[1])))
        if kind == "ranking"
        else Answer("rated", ratings={"clear": {ids[0]: 7}})
    )
    assert store.record(shown.judgement(said)) == "taken"
    assert next(store.judgements()).answer == said
    assert store.counts().by_verdict["ranked" if kind == "ranking" else "rated"] == 1


def test_the_next_task_is_leased_with_the_current_one(store: Store) -> None:
    fill(store, 5)
    ann, bob = store.annotator("ann"), store.annotator("bob")
    current, prefetched = store.assignments(ann.id, 2)
    assert store.assignments(ann.id, 2) == [current, prefetched], "they stay in the order in which they were given"
    assert store.next_assignment(ann.id) == current
    bobs = outstanding(store, bob.id)
    assert not {current.task.id, prefetched.task.id} & set(bobs)
    assert len(bobs) == 3
    store.record(current.judgement(TIE))
    assert store.assignments(ann.id, 2) == [prefetched]


def test_a_reload_goes_on_with_the_same_task_also_after_a_restart(store_url: str, clock: Clock) -> None:
    store = Store(store_url, clock)
    fill(store, 20, overlap=2)
    ann = store.annotator("ann")
    shown = store.next_assignment(ann.id)
    assert shown is not None
    assert store.next_assignment(ann.id) == shown
    store.close()
    again = Store(store_url, clock)
    assert again.next_assignment(ann.id) == shown
    clock.now += 3 * LEASE
    assert again.next_assignment(ann.id) == shown, "one's own lapsed lease is renewed while nobody else asked"
    again.close()


def test_an_expired_lease_is_offered_to_another_annotator(store: Store, clock: Clock) -> None:
    fill(store, 1)
    ann, bob = store.annotator("ann"), store.annotator("bob")
    anns = store.next_assignment(ann.id)
    clock.now += LEASE - 1
    assert store.next_assignment(bob.id) is None
    clock.now += 1
    bobs = store.next_assignment(bob.id)
    assert anns is not None
    assert bobs is not None
    assert bobs.task == anns.task
    assert store.next_assignment(ann.id) is None


def test_handing_a_task_out_again_extends_its_lease(store: Store, clock: Clock) -> None:
    fill(store, 1)
    ann, bob = store.annotator("ann"), store.annotator("bob")
    for _ in range(3):
        assert store.next_assignment(ann.id)
        clock.now += LEASE - 1
        assert store.next_assignment(bob.id) is None


@pytest.mark.parametrize("jump", [-1e6, -3600.0, 3600.0, 1e6])
def test_a_clock_that_jumps_leaves_no_lease_longer_than_the_campaigns(store: Store, clock: Clock, jump: float) -> None:
    fill(store, 2)
    ann, bob = store.annotator("ann"), store.annotator("bob")
    assert len(store.assignments(ann.id, 2)) == 2
    clock.now += jump
    early = store.next_assignment(bob.id)
    assert (early is None) == (jump < 0), "put back, the lease holds; put forward, it has run out"
    clock.now += LEASE
    assert store.next_assignment(bob.id), "at the latest a lease's length from when it was noticed"


def test_priorities_come_first_and_a_random_slice_ignores_them(store: Store) -> None:
    campaign = Campaign(gold_share=0, repeat_share=0, random_share=0.25)
    tasks = fill(store, 40, campaign=campaign)
    urgent = {task.id for task in tasks[:20]}
    assert store.set_priorities(dict.fromkeys(urgent, 2.5)) == 20
    given = outstanding(store, store.annotator("robot", simulated=True).id)
    assert len(set(given)) == 40
    early = sum(task_id in urgent for task_id in given[:20])
    # A quarter of 20 is drawn whatever its priority, two thirds of it from the others: 16.7, four deviations are 6.8.
    assert 10 <= early < 20


def test_the_order_in_which_responses_are_shown_differs_between_annotators(store: Store) -> None:
    fill(store, 16, overlap=2)
    orders: list[dict[str, tuple[str, ...]]] = []
    for name in ("one", "two"):
        robot = store.annotator(name, simulated=True)
        outstanding(store, robot.id)
        orders.append({j.task_id: j.shown for j in store.judgements() if j.annotator_id == robot.id})
    same = sum(orders[0][task_id] == shown for task_id, shown in orders[1].items())
    assert 2 < same < 14


def test_gold_tasks_are_mixed_in_for_everybody_whatever_their_overlap(store: Store) -> None:
    campaign = Campaign(gold_share=0.3, repeat_share=0)
    tasks = fill(store, 30, overlap=2, campaign=campaign, gold=4)
    gold = {task.id for task in tasks if task.gold}
    for name in ("one", "two", "three"):
        given = outstanding(store, store.annotator(name, simulated=True).id)
        assert len(given) == len(set(given))
        if name != "three":
            assert gold <= set(given), "all four came among the others"
            assert not set(given[:4]) <= gold
        else:
            assert given == [], "gold tasks alone are not worth anybody's time"
    counts = store.counts()
    assert (counts.tasks, counts.judgements) == (26, 52)
    assert sum(judgement.task_id in gold for judgement in store.judgements()) == 8
    assert sum(counts.by_verdict.values()) == 52
    assert store.waiting() == 0


def test_repeats_come_later_and_the_other_way_round(store: Store) -> None:
    fill(store, 30, campaign=Campaign(gold_share=0, repeat_share=0.3), overlap=1)
    robot = store.annotator("robot", simulated=True)
    outstanding(store, robot.id)
    tasks = {task.id: task for task in store.tasks()}
    judged = list(store.judgements())
    at = {judgement.task_id: place for place, judgement in enumerate(judged)}
    again = [judgement for judgement in judged if tasks[judgement.task_id].repeat_of]
    assert 4 < len(again) < 20
    originals = [tasks[judgement.task_id].repeat_of or "" for judgement in again]
    assert len(set(originals)) == len(originals), "nothing comes a third time"
    for judgement, original in zip(again, originals, strict=True):
        assert at[judgement.task_id] - at[original] > REPEAT_DISTANCE
        assert judgement.shown == judged[at[original]].shown[::-1]
        assert tasks[judgement.task_id].reserved_for == robot.id
    assert store.counts().judgements == 30
    assert len(judged) == 30 + len(again)
    with pytest.raises(UserError, match="another annotator's"):
        store.record(replace(again[0], annotator_id=store.annotator("ann").id, key=""))


def test_a_repeat_whose_lease_ran_out_is_given_to_its_annotator_later(store: Store, clock: Clock) -> None:
    fill(store, 24, campaign=Campaign(gold_share=0, repeat_share=0.5))
    robot, other = store.annotator("robot", simulated=True), store.annotator("other", simulated=True)
    while shown := store.next_assignment(robot.id):
        if shown.task.repeat_of:
            break
        store.record(shown.judgement(TIE))
    assert shown is not None
    clock.now += LEASE
    store.next_assignment(other.id)  # takes the lapsed lease back
    assert shown.task.id in outstanding(store, robot.id)


# --- what becomes of an answer ---


def test_the_same_answer_twice_is_one_judgement(store: Store) -> None:
    fill(store, 2)
    ann = store.annotator("ann")
    first = store.next_assignment(ann.id)
    assert first is not None
    assert store.record(prefer(first, key="k1")) == "taken"
    before = store.label_set_hash()
    assert store.record(prefer(first, key="k1")) == "repeated"
    assert store.record(prefer(first, side=1, key="k2")) == "answered", "a task is answered once by each annotator"
    assert store.record(prefer(first)) == "answered"
    assert store.label_set_hash() == before
    second = store.next_assignment(ann.id)
    assert second is not None
    with pytest.raises(UserError, match="used for another judgement"):
        store.record(prefer(second, key="k1"))
    assert store.counts().judgements == 1
    assert len(list(store.events())) == 1


def test_one_impossible_judgement_keeps_the_whole_step_out(store: Store) -> None:
    (task,) = fill(store, 1)
    ann = store.annotator("ann")
    good = Judgement(task.id, ann.id, task.candidates, Answer("tie"))
    for changes, message in (
        ({"task_id": "nowhere"}, "no task"),
        ({"annotator_id": "nobody"}, "no annotator"),
        ({"answer": Answer("preferred")}, "its winner is None"),
        ({"action": "undo"}, "an answer or an edit"),
    ):
        with pytest.raises(UserError, match=message):
            store.record_many([good, replace(good, **changes)])  # type: ignore[arg-type]
    assert store.counts().judgements == 0
    assert store.record(good) == "taken"


def test_responses_cannot_be_swapped_after_they_were_shown(store: Store) -> None:
    fill(store, 1)
    shown = store.next_assignment(store.annotator("ann").id)
    assert shown is not None
    with pytest.raises(UserError, match="another order"):
        store.record(prefer(replace(shown, shown=shown.shown[::-1])))


def test_an_edit_replaces_what_was_said_and_both_stay_in_the_log(store: Store) -> None:
    fill(store, 2)
    ann, bob = store.annotator("ann"), store.annotator("bob")
    shown = store.next_assignment(ann.id)
    assert shown is not None
    with pytest.raises(UserError, match="no judgement of task"):
        store.record(replace(prefer(shown, key="e0"), action="edit"))
    with pytest.raises(UserError, match="no judgement of yours"):
        store.assignment(shown.task.id, ann.id)
    store.record(prefer(shown, strength=1, key="k1"))
    seen = store.assignment(shown.task.id, ann.id)
    assert seen.shown == shown.shown
    assert seen.previous is not None
    assert seen.previous.answer.strength == 1
    with pytest.raises(UserError, match="no judgement of yours"):
        store.assignment(shown.task.id, bob.id)
    edit = replace(prefer(seen, side=1, strength=2, key="e1"), action="edit")
    assert (store.record(edit), store.record(edit)) == ("edited", "repeated")
    with pytest.raises(UserError, match="another order"):
        store.record(replace(edit, shown=edit.shown[::-1], key="e2"))
    assert [judgement.answer for judgement in store.judgements()] == [edit.answer]
    assert [(event.action, event.key) for event in store.events()] == [("answer", "k1"), ("edit", "e1")]
    assert [judgement.answer for judgement in store.history(ann.id)] == [edit.answer]


def test_undo_makes_the_newest_task_current_again(store: Store) -> None:
    fill(store, 4)
    ann = store.annotator("ann")
    assert store.undo(ann.id, "u0") is None
    first, second = store.assignments(ann.id, 2)
    store.record(prefer(first, strength=3, key="k1"))
    third = store.assignments(ann.id, 2)[1]
    undone = store.undo(ann.id, "u1")
    assert undone is not None
    assert undone.previous is not None
    assert (undone.task, undone.shown) == (first.task, first.shown)
    assert undone.previous.answer == prefer(first, strength=3).answer
    assert store.undo(ann.id, "u1") == undone, "the same key withdraws nothing more"
    assert [each.task.id for each in store.assignments(ann.id, 3)] == [each.task.id for each in (first, second, third)]
    assert store.next_assignment(ann.id) == undone, "what was said before is still there after a reload"
    assert store.counts().judgements == 0
    assert store.waiting() == 4
    assert store.record(prefer(first, key="k1")) == "repeated", "an old message that comes again changes nothing"
    assert store.record(prefer(undone, side=1, key="k2")) == "taken"
    assert store.undo(ann.id, "u1") is None
    assert [event.action for event in store.events()] == ["answer", "undo", "answer"]
    with pytest.raises(UserError, match="used for a judgement"):
        store.undo(ann.id, "k2")
    bob = store.annotator("bob")
    with pytest.raises(UserError, match="used for a judgement"):
        store.undo(bob.id, "u1")
    with pytest.raises(UserError, match="used for another"):
        store.record(prefer(second, key="u1"))


def test_history_is_ones_own_newest_first(store: Store) -> None:
    fill(store, 6, overlap=2)
    ann, bob = store.annotator("ann"), store.annotator("bob")
    given, _ = outstanding(store, ann.id), outstanding(store, bob.id)
    assert [judgement.task_id for judgement in store.history(ann.id)] == given[::-1]
    assert [judgement.task_id for judgement in store.history(ann.id, limit=2)] == given[:-3:-1]


def test_a_late_answer_is_kept_and_takes_the_place_of_who_has_not_answered(store: Store, clock: Clock) -> None:
    fill(store, 1)
    ann, bob, cy = (store.annotator(name) for name in ("ann", "bob", "cy"))
    late = store.next_assignment(ann.id)
    clock.now += LEASE
    refilled = store.next_assignment(bob.id)
    assert late is not None
    assert refilled is not None
    assert store.record(prefer(late)) == "taken"
    assert store.next_assignment(bob.id) is None, "bob's lease went to ann's answer: the overlap is as set"
    assert store.next_assignment(cy.id) is None
    assert store.waiting() == 0
    # Bob's page still shows the task. What he says after all is kept too, one above the overlap.
    assert store.record(prefer(refilled)) == "taken"
    assert store.counts().judgements == 2
    assert store.undo(bob.id, "u") is not None


def test_a_late_answer_takes_a_free_place_first_and_a_lapsed_lease_next(store: Store, clock: Clock) -> None:
    fill(store, 1, overlap=2)
    ann, bob, cy, di = (store.annotator(name) for name in ("ann", "bob", "cy", "di"))
    late = store.next_assignment(ann.id)
    assert late is not None
    clock.now += LEASE
    assert store.next_assignment(bob.id)
    assert store.record(prefer(late)) == "taken"
    bobs = store.next_assignment(bob.id)
    assert bobs is not None, "one place was free: bob keeps his"
    clock.now += LEASE
    cys = store.next_assignment(cy.id)
    assert cys is not None
    clock.now += LEASE
    # Bob comes back late: it is cy's lease, lapsed by now, that gives way.
    assert store.record(prefer(bobs)) == "taken"
    assert store.next_assignment(di.id) is None
    assert store.next_assignment(cy.id) is None
    assert Counter(judgement.task_id for judgement in store.judgements()) == {late.task.id: 2}


# --- figures ---


def test_waiting_counts_what_each_task_still_lacks(store: Store) -> None:
    fill(store, 2, overlap=2)
    people = [store.annotator(name).id for name in ("Ada", "Bo", "Cy")]
    assert store.waiting() == 4
    for person, left in ((people[0], 3), (people[1], 2)):
        shown = store.next_assignment(person)
        assert shown
        store.record(shown.judgement(TIE))
        assert store.waiting() == left
    # A vote above a task's overlap makes up for nothing that another task lacks.
    judged = next(iter(store.judgements()))
    store.record_many([Judgement(judged.task_id, person, judged.shown, Answer("skip")) for person in people])
    other = [judgement for judgement in store.judgements() if judgement.task_id != judged.task_id]
    assert store.waiting() == 2 - len(other)


def test_progress_counts_what_is_open_to_the_annotator(store: Store) -> None:
    fill(store, 4, overlap=2)
    ann, bob, cy = (store.annotator(name) for name in ("ann", "bob", "cy"))
    assert store.progress(ann.id) == Progress(0, 4)
    store.assignments(ann.id, 2)
    assert store.progress(ann.id) == Progress(0, 4)
    outstanding(store, ann.id)
    assert store.progress(ann.id) == Progress(4, 4)
    assert store.progress(bob.id) == Progress(0, 4)
    outstanding(store, bob.id)
    assert store.progress(cy.id) == Progress(0, 0)


def test_counts_keep_the_simulated_apart(store: Store) -> None:
    fill(store, 2, overlap=2)
    ann, robot = store.annotator("ann"), store.annotator("robot", simulated=True)
    for annotator, verdict in ((ann, "tie"), (robot, "preferred"), (robot, "skip")):
        shown = store.next_assignment(annotator.id)
        assert shown is not None
        store.record(prefer(shown) if verdict == "preferred" else shown.judgement(Answer(verdict)))  # type: ignore[arg-type]
    counts = store.counts()
    assert (counts.prompts, counts.tasks) == (2, 2)
    assert (counts.judgements, counts.simulated_judgements) == (3, 2)
    assert [annotator.simulated for annotator in store.annotators()] == [False, True]
    assert {verdict: n for verdict, n in counts.by_verdict.items() if n} == {"preferred": 1, "tie": 1, "skip": 1}
    assert store.progress(ann.id) == Progress(done=1, total=2)


def test_the_label_set_hash_depends_on_what_was_said_and_not_on_when_or_by_which_name(tmp_path: Path) -> None:
    stores = [Store(tmp_path / f"{name}.db") for name in "abc"]
    hashes: list[list[str]] = []
    for number, store in enumerate(stores):
        tasks = fill(store, 3)
        ann = store.annotator(f"ann {number}")
        given = [Judgement(t.id, ann.id, t.candidates, Answer("preferred", t.candidates[0])) for t in tasks]
        if number == 1:
            given.reverse()
        if number == 2:
            given[2] = replace(given[2], answer=replace(given[2].answer, strength=1))
        hashes.append([store.label_set_hash()])
        for judgement in given:
            store.record(replace(judgement, seconds=float(number)))
            hashes[-1].append(store.label_set_hash())
    assert hashes[0][-1] == hashes[1][-1]
    assert hashes[0][-1] != hashes[2][-1]
    assert all(len(set(seen)) == 4 for seen in hashes), "every judgement changes it"
    stores[0].undo(stores[0].annotators()[0].id, "u")
    assert stores[0].label_set_hash() == hashes[0][2]
    for store in stores:
        store.close()


def test_a_persons_work_can_be_erased(store: Store) -> None:
    fill(store, 16, overlap=2, campaign=Campaign(gold_share=0.1, repeat_share=0.3), gold=3)
    ann, bob = store.annotator("ann", simulated=True), store.annotator("bob", simulated=True)
    outstanding(store, ann.id)
    for _ in range(10):
        shown = store.assignments(bob.id, 2)[0]
        store.record(shown.judgement(TIE))
    before = sum(judgement.annotator_id == ann.id for judgement in store.judgements())
    with store.database.write() as connection:
        assert delete_judgements(connection, ann.id) == before
    assert {event.annotator_id for event in store.events()} == {bob.id}
    assert all(task.reserved_for != ann.id for task in store.tasks())
    outstanding(store, bob.id)
    assert store.waiting() == 13
