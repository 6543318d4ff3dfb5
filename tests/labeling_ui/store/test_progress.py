"""How far labeling is, who has judged, and the hash that says whether the labels are the same."""

from dataclasses import replace
from pathlib import Path

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Judgement
from labeling_ui.store.store import Progress, Store
from tests.labeling_ui.filling import TIE, fill, outstanding, prefer


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
    store.record_many([Judgement(judged.task_id, person, judged.shown, TIE) for person in people])
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


def test_the_total_is_the_same_whichever_kind_of_task_comes_next(store: Store) -> None:
    """Gold tasks and repeats are mixed in; an annotator who watches the figures learns nothing of which they are."""
    fill(store, 60, campaign=Campaign(gold_share=0.2, repeat_share=0.2, random_share=0), gold=20)
    ann = store.annotator("ann", simulated=True).id
    seen = []
    while shown := store.next_assignment(ann):
        seen.append(store.progress(ann))
        store.record(shown.judgement(TIE))
    assert [each.done for each in seen] == list(range(len(seen)))
    assert {each.total for each in seen[:60]} == {seen[0].total}
    assert len(seen) - 8 <= seen[0].total <= len(seen) + 8, "it is close to what there will be"
    assert store.progress(ann) == Progress(len(seen), len(seen))
