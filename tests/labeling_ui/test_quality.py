"""Agreement and side bias, on numbers worked by hand."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rlhf_pipeline.labeling_ui import quality
from rlhf_pipeline.labeling_ui.records import Judgement, Task, Verdict
from rlhf_pipeline.labeling_ui.store import Store
from tests.labeling_ui.filling import fill


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "labels.db")
    yield store
    store.close()


def judge(store: Store, task: Task, name: str, said: str, left: str | None = None, **more: float) -> None:
    """Record `said` (a, b, tie, both_bad or skip) with the response `left` on the left."""
    left = left or task.a
    winner = {"a": task.a, "b": task.b}.get(said)
    verdict: Verdict = said if winner is None else "left" if winner == left else "right"  # type: ignore[assignment]
    annotator = store.annotator(name, simulated=name == "robot")
    store.record(Judgement(task.id, annotator.id, verdict, left=left, winner=winner, **more))  # type: ignore[arg-type]


def test_alpha_of_krippendorffs_own_example() -> None:
    # Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), part C: nominal data, missing values, .743.
    observers = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]
    said = {
        f"unit {unit:02}": {f"observer {o}": row[unit] for o, row in enumerate(observers) if row[unit] != "."}
        for unit in range(12)
    }
    found = quality.krippendorff({unit: answers for unit, answers in said.items() if len(answers) > 1})
    assert found.alpha == pytest.approx(0.743, abs=5e-4)
    assert (found.tasks, found.judgements) == (11, 40)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.743 < found.high


def test_alpha_is_measured_on_the_winner_and_not_on_the_side(store: Store) -> None:
    # Coincidences: tasks 1 and 2 agree (a,a) and (b,b); task 3 is (a,b). So o_ab = o_ba = 1, n_a = n_b = 3, n = 6,
    # and alpha = 1 - (n - 1) * o_ab / (n_a * n_b) = 1 - 5/9.
    tasks = fill(store, 4, overlap=2)
    for task, ann, bob in zip(tasks, "aba", "abb", strict=False):
        judge(store, task, "ann", ann, left=task.a)
        judge(store, task, "bob", bob, left=task.b)
    judge(store, tasks[3], "ann", "a")
    judge(store, tasks[3], "bob", "skip")
    found = quality.agreement(store)
    assert found.alpha == pytest.approx(4 / 9)
    assert (found.tasks, found.judgements) == (3, 6)


def test_both_bad_does_not_agree_with_a_tie(store: Store) -> None:
    first, second = fill(store, 2, overlap=2)
    for task in (first, second):
        judge(store, task, "ann", "tie")
        judge(store, task, "bob", "both_bad")
    # o_tie,bad = 2 and n_tie = n_bad = 2 of n = 4: alpha = 1 - 3 * 2 / 4.
    assert quality.agreement(store).alpha == pytest.approx(-0.5)


def test_without_a_second_opinion_there_is_no_alpha(store: Store) -> None:
    assert quality.agreement(store).alpha is None
    for task in fill(store, 5):
        judge(store, task, "ann", "a")
    assert quality.agreement(store) == quality.Agreement(None, None, None, tasks=0, judgements=0)


def test_agreement_of_people_leaves_the_simulated_out(store: Store) -> None:
    for task, said in zip(fill(store, 4, overlap=3), "abab", strict=True):
        judge(store, task, "ann", said)
        judge(store, task, "bob", said)
        judge(store, task, "robot", "b" if said == "a" else "a")
    assert quality.agreement(store, simulated=False).alpha == pytest.approx(1.0)
    assert quality.agreement(store, simulated=True).alpha is None
    everybody = quality.agreement(store).alpha
    assert everybody is not None
    assert everybody < 0.1


def test_a_side_bias_shows_in_the_binomial_test(store: Store) -> None:
    tasks = fill(store, 12)
    for task in tasks[:10]:
        judge(store, task, "ann", "a", left=task.a, seconds=3.0)
    judge(store, tasks[10], "ann", "tie", seconds=5.0)
    judge(store, tasks[11], "ann", "skip", seconds=9.0)
    (ann,) = quality.annotators(store)
    assert (ann.judgements, ann.decisive, ann.left, ann.left_share) == (12, 10, 10, 1.0)
    assert ann.p_value == pytest.approx(2 / 2**10), "ten heads or ten tails of a fair coin"
    assert ann.left_low == pytest.approx(0.7225, abs=1e-4), "Wilson: n / (n + z²) = 10 / 13.8415"
    assert ann.median_seconds == 3.0
    assert ann.by_verdict == {"left": 10, "right": 0, "tie": 1, "both_bad": 0, "skip": 1}


def test_an_annotator_without_decisive_verdicts_has_no_side(store: Store) -> None:
    (task,) = fill(store, 1)
    store.annotator("idle")
    judge(store, task, "ann", "tie")
    (ann,) = quality.annotators(store)
    assert (ann.decisive, ann.left_share, ann.p_value, ann.median_seconds) == (0, None, None, None)
