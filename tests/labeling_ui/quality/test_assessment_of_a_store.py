"""The quality of what a label store holds: which judgements are counted, and the published figures once more."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from foundation.errors import UserError
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Candidate, Judgement, Message, Prompt, Task
from labeling_ui.exchange.imports import import_file
from labeling_ui.quality import assessment
from labeling_ui.quality.agreement import Agreement
from labeling_ui.quality.assessment import vote_weights
from labeling_ui.quality.label_reader import read_labels
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import fill

PANDALM = Path(__file__).parents[4] / "shared" / "data" / "pandalm_test_3annotators" / "testset-v1.json"
NAMES = ("annotator1", "annotator2", "annotator3")
needs_pandalm = pytest.mark.skipif(not PANDALM.is_file(), reason=f"{PANDALM} is not there")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "labels.db")
    yield store
    store.close()


def judge(store: Store, task: Task, name: str, winner: int | None) -> None:
    said = Answer("tie") if winner is None else Answer("preferred", winner=task.candidates[winner])
    annotator = store.annotator(name, simulated=name.startswith("robot"))
    store.record(Judgement(task.id, annotator.id, task.candidates, said, seconds=2.0))


def test_an_imported_answer_is_told_from_one_that_was_given_here(store: Store, tmp_path: Path) -> None:
    (task,) = fill(store, 1)
    judge(store, task, "ann", 0)
    row = {"prompt": "q", "response_1": "one", "response_2": "two", "better": "response_2", "rationale": "Größe"}
    (tmp_path / "file").write_text(json.dumps(row), encoding="utf-8")
    import_file(store, "columns", tmp_path / "file")
    assert [each.is_imported for each in store.judgements()] == [False, True]


def test_an_empty_store_has_nothing_to_report(store: Store) -> None:
    found = assessment.report(store)
    assert (found.agreement, found.kappas, found.annotators) == ({}, [], [])
    assert assessment.agreement(store) == Agreement(None, None, None, tasks=0, judgements=0)
    assert vote_weights(read_labels(store)) == {}


def test_a_campaign_is_reported_alone_or_with_all_others(store: Store) -> None:
    for name in ("first", "second"):
        tasks = fill(store, 12, overlap=3, campaign=Campaign(name=name, gold_share=0, repeat_share=0))
        for number, task in enumerate(tasks):
            for annotator in ("ann", "bob"):
                wrong = name == "second" and annotator == "bob"
                judge(store, task, annotator, (number + wrong) % 2)
    first, second, both = (assessment.report(store, name) for name in ("first", "second", None))
    assert first.agreement["winner"].alpha == pytest.approx(1.0)
    assert second.agreement["winner"].alpha is not None
    assert second.agreement["winner"].alpha < 0
    assert both.agreement["winner"].tasks == 24
    assert [each.judgements for each in both.annotators] == [24, 24]
    assert [each.judgements for each in first.annotators] == [12, 12]
    with pytest.raises(UserError, match=r'no campaign "third".*first, second'):
        assessment.report(store, "third")


def test_people_and_the_simulated_are_reported_apart(store: Store) -> None:
    for number, task in enumerate(fill(store, 8, overlap=3)):
        for name in ("ann", "bob"):
            judge(store, task, name, number % 2)
        judge(store, task, "robot", (number + 1) % 2)
    assert assessment.agreement(store, simulated=False).alpha == pytest.approx(1.0)
    assert assessment.agreement(store, simulated=True).alpha is None
    everybody = assessment.agreement(store)
    assert everybody == assessment.agreement(store, simulated=False), "nobody is compared with the simulated"
    assert [each.annotator.name for each in assessment.report(store, simulated=True).annotators] == ["robot"]


def test_weights_are_there_for_everybody_and_say_nothing_of_the_unknown(store: Store) -> None:
    tasks = fill(store, 40, gold=30)
    idle = store.annotator("idle")
    for number, task in enumerate(tasks):
        good = task.gold.winner if task.gold else task.candidates[0]
        assert good is not None
        place = task.candidates.index(good)
        judge(store, task, "careful", place)
        if number < 30:
            judge(store, task, "careless", place if number % 4 else 1 - place)
    ids = {annotator.name: annotator.id for annotator in store.annotators()}
    found = vote_weights(read_labels(store))
    assert found.keys() == set(ids.values())
    assert found[idle.id] == 1.0
    assert found[ids["careful"]] > 1 > found[ids["careless"]] > 0
    golden = {each.annotator.name: each.gold.value for each in assessment.annotators(store)}
    assert golden == {"careful": 1.0, "careless": pytest.approx(22 / 30)}


@needs_pandalm
def test_the_store_gives_the_published_agreement_on_all_rows_of_pandalm(store: Store) -> None:
    # A prompt a row: 99 rows repeat a pair that is there already, and the published figures count each. A response that
    # is not text (in six rows) gets a text.
    prompts, candidates, tasks, judgements = [], [], [], []
    ids = {name: store.annotator(name).id for name in NAMES}
    for row in json.loads(PANDALM.read_text(encoding="utf-8")):
        prompt = Prompt((Message(role="user", content=row["instruction"]),), id=f"row {row['idx']}")
        pair = [Candidate(prompt.id, str(row[f"response{n}"]), id=f"row {row['idx']} response {n}") for n in (1, 2)]
        task = Task(prompt.id, (pair[0].id, pair[1].id))
        prompts.append(prompt)
        candidates += pair
        tasks.append(task)
        for name, annotator_id in ids.items():
            said = Answer("preferred", winner=pair[row[name] - 1].id) if row[name] else Answer("tie")
            judgements.append(Judgement(task.id, annotator_id, task.candidates, said))
    store.record_many(judgements, prompts=prompts, candidates=candidates, tasks=tasks, overlap=3)
    found = assessment.report(store)
    of = {annotator_id: name for name, annotator_id in ids.items()}
    kappas = {frozenset((of[each.first], of[each.second])): round(each.kappa, 3) for each in found.kappas}
    assert kappas == {
        frozenset(NAMES[:2]): 0.852,
        frozenset((NAMES[0], NAMES[2])): 0.879,
        frozenset(NAMES[1:]): 0.862,
    }
    alpha = found.agreement["winner"].alpha
    assert alpha is not None
    assert round(alpha, 3) == 0.864
    assert (found.agreement["winner"].tasks, found.agreement["winner"].judgements) == (999, 2997)


@needs_pandalm
def test_imported_pandalm_comes_near_the_published_agreement(store: Store) -> None:
    report = import_file(store, "pandalm", PANDALM)
    assert {refusal.line for refusal in report.refused} >= {158, 159, 160, 162, 163, 165}
    found = assessment.report(store)
    alpha = found.agreement["winner"].alpha
    assert alpha is not None
    # Rows without two different texts are refused, and a repeated pair is one task.
    assert (found.agreement.keys(), found.agreement["winner"].tasks) == ({"winner"}, 837)
    assert alpha == pytest.approx(0.864, abs=0.005)
    names = {each.annotator.id: each.annotator.name for each in found.annotators}
    kappas = {tuple(sorted((names[each.first], names[each.second]))): each.kappa for each in found.kappas}
    published = {("annotator1", "annotator2"): 0.852, ("annotator1", "annotator3"): 0.879, NAMES[1:]: 0.862}
    assert kappas == pytest.approx(published, abs=0.01)
    assert all(each.skill is not None and each.skill.accuracy > 0.95 for each in found.annotators)
    assert [each.weight for each in found.annotators] == pytest.approx([1.0] * 3, abs=0.2)


def test_an_answer_that_was_changed_is_as_slow_as_all_that_was_spent_on_it(store: Store) -> None:
    tasks = fill(store, 4, overlap=3)
    for task in tasks:
        judge(store, task, "ann", 0)
    who = store.annotator("ann").id
    first, second, *_ = (each for each in store.judgements() if each.annotator_id == who)
    other = Answer("tie")
    for number, each in enumerate((first, second), start=1):
        store.record(replace(each, answer=other, seconds=0.3, action="edit", key=f"edit {number}", created_at=""))
    undone = store.undo(who, "undo")
    assert undone is not None
    shown = tuple(candidate.id for candidate in undone.shown)
    store.record(Judgement(undone.task.id, who, shown, other, seconds=0.5, key="again"))
    labels = read_labels(store)
    assert sorted(labels.seconds(each) or 0.0 for each in labels.judgements) == pytest.approx([2.0, 2.0, 2.3, 2.8])
    (ann,) = assessment.annotators(store)
    assert ann.hasty.value == 0.0
