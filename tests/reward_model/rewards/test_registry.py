"""Rewards by name: what is refused in a spec, and what is refused of what a reward returns."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trl import GRPOTrainer

from backbone.adapters import SharedBase
from foundation.errors import UserError
from reward_model.rewards.registry import KINDS, BuiltReward, RewardSpec, build, read_spec
from tests import shared_base

# One usable spec of each reward.
SPECS: dict[str, dict[str, Any]] = {
    "length": {"target": 5},
    "format": {"pattern": ".*"},
    "keywords": {"words": ["tea"]},
    "safety": {"words": ["bomb"]},
    "tests_passed": {"enabled": True, "tests": ["assert True"]},
}
COLUMNS = {"references": [["the cat sat"], ["a dog ran"]], "completion_ids": [[1, 2], [3]]}


@pytest.fixture(scope="module")
def base(tiny_model: Path) -> SharedBase:
    return shared_base.load(tiny_model)


def learned(prompts: list[Any], completions: list[Any], **columns: Any) -> list[tuple[float, float]]:
    return [(float(number), 0.5) for number in range(len(completions))]


@pytest.mark.parametrize("name", sorted(KINDS.keys() - {"model"}))  # which needs a model of its own: test_classifier.py
def test_every_reward_takes_texts_and_conversations_alike(name: str, base: SharedBase) -> None:
    reward = build({"name": name, **SPECS.get(name, {})}, base=base, learned=learned)
    plain = reward(prompts=["say something", "and more"], completions=["the cat ran", "tea"], **COLUMNS)
    spoken = reward(
        prompts=[[{"role": "user", "content": "say something"}], [{"role": "user", "content": "and more"}]],
        completions=[[{"role": "assistant", "content": text}] for text in ("the cat ran", "tea")],
        **COLUMNS,
    )
    assert plain == spoken
    assert len(plain) == 2
    assert all(isinstance(value, float) for value in plain)


@pytest.mark.parametrize("name", sorted(KINDS.keys() - {"model"}))  # which needs a model of its own: test_classifier.py
def test_a_value_does_not_depend_on_the_rest_of_the_batch(name: str, base: SharedBase) -> None:
    if name == "learned":
        pytest.skip("it is handed in")
    reward = build({"name": name, **SPECS.get(name, {})}, base=base)
    texts = ["the cat ran to the mat and sat", "tea", "He go to the the school.", ""]
    columns = {"references": [["the cat sat"]] * 4}
    together = reward(prompts=["p"] * 4, completions=texts, **columns)
    alone = [reward(prompts=["p"], completions=[text], references=[["the cat sat"]])[0] for text in texts]
    assert together == pytest.approx(alone, abs=1e-5)


def test_a_reward_has_its_name_in_trl() -> None:
    reward = build({"name": "length", "target": 5, "label": "five words"})
    assert reward.__name__ == "five words"
    assert "reward_funcs" in inspect.signature(GRPOTrainer).parameters


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "`name`: Field required"),
        ({"name": "blue"}, 'there is no reward "blue". Known: bleu, chrf, rouge, grammar, coherence, length, format'),
        (
            {"name": "bleu", "smooth": "exp"},
            'the reward "bleu" has no parameter "smooth". Its own: smoothing, smoothin',
        ),
        ({"name": "bleu", "smoothing": "lots"}, "the reward \"bleu\", parameter smoothing: must be 'exp', 'floor'"),
        ({"name": "grammar", "normalise": "bounds"}, "needs `normalise: bounds` and `bounds: [low, high]` together"),
        ({"name": "grammar", "bounds": [0, 1]}, "needs `normalise: bounds` and `bounds: [low, high]` together"),
        ({"name": "grammar", "clip": [1, 1]}, 'clip of the reward "grammar" must be [low, high], found [1.0, 1.0]'),
        ({"name": "grammar", "pessimism": -1}, "`pessimism`: Input should be greater than or equal to 0"),
        ({"name": "tests_passed"}, "it runs code that a model wrote. If that is meant, say `enabled: true`"),
        ({"name": "learned"}, "stands for a trained reward model, and none was handed in"),
        ({"name": "coherence"}, '"coherence" is computed with the base model, and none was handed in'),
    ],
    ids=str,
)
def test_a_wrong_spec_is_refused_with_what_is_known(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as refused:
        build(spec)
    assert message in str(refused.value)


def test_a_spec_survives_being_written_and_read() -> None:
    spec = read_spec({"name": "bleu", "smoothing": "floor", "weight": 2, "normalise": "bounds", "bounds": [0, 1]})
    assert RewardSpec.model_validate(spec.model_dump(mode="json")) == spec
    assert spec.model_dump()["smoothing"] == "floor"


def test_every_reward_and_parameter_is_documented() -> None:
    text = (Path(__file__).parents[3] / "docs" / "rewards.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(" `"): line for line in text.splitlines() if line.startswith("| `")}
    for name, kind in KINDS.items():
        assert all(f"`{field}`" in rows[name] for field in kind.model_fields), name
    assert all(f"`{field}`" in text for field in RewardSpec.model_fields)


def raising(**given: Any) -> list[float]:
    raise ValueError("no")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda **given: [1.0], 'the reward "learned" returned 1 values for 2 completions'),
        (lambda **given: [1.0, float("nan")], r'the reward "learned" is not finite \(row 2 of 2\)'),
        (lambda **given: [(1.0, 0.1), (1.0, float("inf"))], 'the reward "learned" is not finite'),
        (lambda **given: ["a", "b"], 'the reward "learned" failed: ValueError: could not convert string to float'),
        (raising, 'the reward "learned" failed: ValueError: no'),
    ],
)
def test_a_reward_must_give_one_finite_number_a_completion(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build({"name": "learned"}, learned=function)(prompts=["p", "p"], completions=["x", "y"])


def test_pessimism_takes_standard_deviations_off() -> None:
    reward = build({"name": "learned", "pessimism": 2}, learned=learned)
    assert isinstance(reward, BuiltReward)
    assert reward(prompts=["p", "p"], completions=["x", "y"]) == [-1, 0]
    assert reward.std == [0.5, 0.5]


def test_pessimism_needs_a_standard_deviation() -> None:
    reward = build({"name": "length", "target": 1, "pessimism": 1})
    with pytest.raises(UserError, match="says nothing of its standard deviation, which its pessimism of 1 needs"):
        reward(prompts=["p"], completions=["x"])
