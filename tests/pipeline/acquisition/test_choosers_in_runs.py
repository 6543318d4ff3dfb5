"""A run with a chooser: which pairs become tasks and why, what stays random, and priorities that follow the answers."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.stats import chisquare

from foundation.errors import UserError
from labeling_ui.data_model import Answer
from labeling_ui.store.store import Store
from pipeline import stages
from pipeline.acquisition import keeping
from pipeline.acquisition.choice import Chooser, chosen_pairs, set_priorities
from pipeline.acquisition.features import FILE, Features, read_features
from pipeline.inspection.facts import facts_of
from pipeline.inspection.status import described
from reward_model.acquisition.linear_head import LinearHead
from reward_model.labels.splits import NOTHING
from tests.labeling_ui.filling import prefer
from tests.pipeline import tiny

CHOOSING = [
    "collect.candidates=8", "collect.pairs_per_prompt=3", "collect.chooser=d_optimal", "label.random_share=0.3",
    "label.repeat_share=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def collected(tiny_settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose candidates wait; tests that change it take a copy."""
    path = tmp_path_factory.mktemp("chosen") / "run"
    stages.collect(*tiny.opened(path, [*tiny_settings, *CHOOSING]))
    return path


@pytest.fixture
def run(collected: Path, tmp_path: Path) -> Path:
    shutil.copytree(collected, tmp_path / "run")
    return tmp_path / "run"


def reasons(path: Path) -> dict[str, str]:
    store = Store(path / "labels.db")
    found = {task.id: task.reason for task in store.tasks()}
    store.close()
    return found


def test_many_are_sampled_few_are_shown_and_every_choice_has_its_reason(collected: Path) -> None:
    states = load_file(collected / "round-000" / FILE)["states"]
    candidates = {row["id"]: row for row in tiny.rows(collected / "round-000" / "candidates.jsonl")}
    assert len(states) == len(candidates) > 100
    store = Store(collected / "labels.db")
    tasks = store.tasks()
    assert max(Counter(task.prompt_id for task in tasks).values()) == 3
    held_out = {row["id"] for row in tiny.rows(collected / "round-000" / "prompts.jsonl") if row["split"] == "held_out"}
    assert held_out.isdisjoint(task.prompt_id for task in tasks)
    told = Counter(task.reason.partition(" ")[0] for task in tasks)
    assert set(told) == {"", "d_optimal"}
    assert 8 < told[""] < 30  # three tenths of 60 are 18, the deviation is 3.5
    with store.database.read() as connection:
        priorities = dict(connection.exec_driver_sql("SELECT reason, priority FROM tasks").fetchall())
    assert all(priority > 0 for priority in priorities.values())
    store.close()


def test_collecting_again_asks_nothing_else_even_after_answers(run: Path, tiny_settings: list[str]) -> None:
    before = reasons(run)
    store = Store(run / "labels.db")
    annotator = store.annotator("ann").id
    for _ in range(10):
        given = store.next_assignment(annotator)
        assert given is not None
        store.record(prefer(given))
    store.close()
    stages.collect(*tiny.opened(run, [*tiny_settings, *CHOOSING]))
    assert reasons(run) == before


def test_another_chooser_samples_nothing_anew(run: Path, tiny_settings: list[str]) -> None:
    opened = tiny.opened(run, [*tiny_settings, *CHOOSING[:2], "collect.chooser=thompson", "label.random_share=0.3"])
    stages.collect(*opened)
    assert "collect: already done" in tiny.printed(opened[2]) or "collect: skipped" in tiny.printed(opened[2])


def test_priorities_follow_what_people_say(run: Path, tiny_settings: list[str]) -> None:
    opened, config, _ = tiny.opened(run, [*tiny_settings, *CHOOSING])
    features, store = read_features(opened), Store(run / "labels.db")
    before = Chooser.after("farthest", features, store, config.seed)
    assert before.head.n == 0
    annotator, rows = store.annotator("ann").id, features.rows()
    liked = features.states[:, 3]  # what this person goes by
    for _ in range(40):
        given = store.next_assignment(annotator)
        assert given is not None
        best = max(given.shown, key=lambda one: liked[rows[one.id]])
        store.record(given.judgement(Answer("preferred", best.id)))
    after = Chooser.after("farthest", features, store, config.seed)
    assert after.head.n == 40
    assert np.corrcoef(after.head.scores(features.states), liked)[0, 1] > 0.3
    assert set_priorities(store, after, "main") > 0
    with store.database.read() as connection:
        kept = dict(connection.exec_driver_sql("SELECT id, priority FROM tasks WHERE taken = 0").fetchall())
    tasks = {task.id: task for task in store.tasks()}
    for task_id, priority in kept.items():
        pair = np.array([[rows[one] for one in tasks[task_id].candidates]])
        assert priority == pytest.approx(float(after.worth(pair)[0]))
    store.close()


def test_what_is_random_is_random() -> None:
    """10,000 draws of the random slice: each of a prompt's pairs as often as any other."""
    prompts = 5000
    ids = [f"{prompt}-{number}" for prompt in range(prompts) for number in range(4)]
    features = Features(ids, np.repeat(np.arange(prompts), 4), np.random.default_rng(0).standard_normal((len(ids), 4)))
    chooser = Chooser("farthest", features, LinearHead.prior(features.states), 7)
    candidates = {str(prompt): ids[4 * prompt : 4 * prompt + 4] for prompt in range(prompts)}
    drawn = chosen_pairs(chooser, candidates, 2, 1.0)
    assert len(drawn) == 10_000
    counts = Counter(tuple(one.rpartition("-")[2] for one in pair) for pair in drawn)
    assert len(counts) == 6
    assert chisquare(list(counts.values())).pvalue > 1e-3
    half = chosen_pairs(chooser, candidates, 2, 0.5)
    at_random = [pair for pair, reason in half.items() if not reason]
    assert abs(len(at_random) - 5000) < 200  # four deviations
    counts = Counter(tuple(one.rpartition("-")[2] for one in pair) for pair in at_random)
    assert chisquare(list(counts.values())).pvalue > 1e-3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["collect.chooser=d_optimal", "label.kind=rating"], "chooses pairs, and label.kind=rating shows single"),
        (["collect.chooser=best"], "collect.chooser"),
    ],
)
def test_a_chooser_that_cannot_choose_is_refused(overrides: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        tiny.opened(tmp_path / "run", overrides)


def test_damaged_features_are_told(run: Path, tiny_settings: list[str]) -> None:
    (run / "round-000" / FILE).write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"features.safetensors is damaged .* Delete it and run `rlhf collect` again"):
        read_features(tiny.opened(run, tiny_settings)[0])


def answer(store: Store, count: int) -> str:
    """So many answers of one annotator; returns their id."""
    annotator = store.annotator("ann").id
    for _ in range(count):
        given = store.next_assignment(annotator)
        assert given is not None
        store.record(prefer(given))
    return annotator


def test_annotators_who_guess_teach_the_chooser_nothing(
    run: Path, tiny_settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    features, store = read_features(tiny.opened(run, tiny_settings)[0]), Store(run / "labels.db")
    annotator = answer(store, 5)
    assert Chooser.after("variance", features, store, 0).head.n == 5
    monkeypatch.setattr("labeling_ui.exchange.weighted_votes.vote_weights", lambda labels: {annotator: 0.0})
    assert Chooser.after("variance", features, store, 0).head.n == 0
    store.close()


# --- the process that keeps priorities ---


class Beside:
    """The process in this one: no time passes, and it ends after so many looks."""

    def __init__(self, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run, self.slept, self.patch = run, list[float](), monkeypatch
        monkeypatch.setattr(keeping.os, "nice", lambda by: 0)
        monkeypatch.setattr(keeping.signal, "signal", lambda *given: None)
        monkeypatch.setattr(keeping.time, "sleep", self.slept.append)

    def look(self, times: int) -> None:
        parents = iter([1, *[1] * times, 2])
        self.patch.setattr(keeping.os, "getppid", lambda: next(parents, 2))
        keeping._keep(self.run, self.run / "labels.db", "variance", "main", 0, NOTHING)


@pytest.fixture
def beside(run: Path, monkeypatch: pytest.MonkeyPatch) -> Beside:
    return Beside(run, monkeypatch)


def test_a_refit_that_fails_is_told_waited_for_and_given_up_at_last(
    beside: Beside, tiny_settings: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: object) -> int:
        raise ZeroDivisionError("float division by zero")

    monkeypatch.setattr("pipeline.acquisition.choice.set_priorities", fails)
    beside.look(100)
    assert beside.slept == [4, 16, 64, 256]
    shown = capsys.readouterr()
    assert "ZeroDivisionError('float division by zero'), 2 times); it is tried again" in shown.out
    assert "5 times); given up until `rlhf label` is started again" in shown.out
    assert "Traceback" in shown.err
    opened, config, _ = tiny.opened(beside.run, tiny_settings)
    assert "given up" in described(facts_of(opened, config))["priorities"]


def test_a_refit_that_works_again_leaves_no_complaint(
    beside: Beside, tiny_settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def works_later(*given: object) -> int:
        calls.append(1)
        if len(calls) < 3:
            raise ValueError("once")
        return 0

    monkeypatch.setattr("pipeline.acquisition.choice.set_priorities", works_later)
    beside.look(6)
    assert len(calls) == 3
    opened, config, _ = tiny.opened(beside.run, tiny_settings)
    assert "priorities" not in described(facts_of(opened, config))
