"""The blind comparison: its figures by hand, and what an adapter that changes nothing must give."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backbone.adapters import SharedBase, lora_config
from backbone.exactness import load_shared_base
from backbone.logprobs import response_kl
from backbone.sampling_config import SamplingConfig
from pipeline.config.evaluate import EvaluateConfig
from pipeline.evaluation.comparison import evaluate
from pipeline.evaluation.statistics import distinct, measures, ratio_interval, win_rate
from pipeline.sampling import drawing as module
from tests.pipeline.tiny import TOPICS, ask

CONFIG = EvaluateConfig(sampling=SamplingConfig(max_new_tokens=6), shown=3)
PROMPTS = [{"id": topic, "prompt": ask(f"tell me of the {topic}")} for topic in TOPICS[:5]]


@pytest.fixture(scope="module")
def base(tiny_model: Path) -> SharedBase:
    """With an adapter "same" that changes nothing, and one, "other", that does."""
    base = load_shared_base(str(tiny_model), "float32", "cpu")
    base.add_adapter("same", lora_config(4, 8))
    base.add_adapter("other", lora_config(4, 8))
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for parameter in base.parameters("other").values():
            parameter.normal_(std=0.3, generator=generator)
    return base


def size(text: str) -> int:
    return sum(map(ord, text))


def by_size(prompts: Sequence[Any], answers: Sequence[Any]) -> list[float]:
    return [float(size(answer["response"])) for answer in answers]


def compare(base: SharedBase, adapter: str, folder: Path, **judges: Any) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    judges = judges or {"size": by_size}
    return evaluate(CONFIG, base, adapter, PROMPTS, judges, folder, seed=4, advance=lambda steps: None)


# --- figures by hand ---


def test_a_tie_is_worth_one_half() -> None:
    # win, win, tie, loss: (1 + 1 + 1/2 + 0) / 4
    rate = win_rate([2.0, 3.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0], range(4))
    assert rate["win_rate"] == 0.625
    assert rate["n"] == 4


def test_the_interval_is_that_of_the_binomial() -> None:
    # 60 of 100: normal approximation 0.6 -+ 1.96 * sqrt(0.24 / 100) = 0.504, 0.696
    rate = win_rate([1.0] * 60 + [0.0] * 40, [0.5] * 100, range(100))
    twice = win_rate([1.0] * 60 + [0.0] * 40, [0.5] * 100, [place // 2 for place in range(100)])
    assert twice["low"] < rate["low"] < rate["high"] < twice["high"]
    assert (rate["low"], rate["high"]) == pytest.approx((0.504, 0.696), abs=0.011)


@pytest.mark.parametrize(
    ("wins", "low", "high"),
    [([1.0], 0.025, 1.0), ([1.0, 1.0], 0.158, 1.0), ([0.0] * 9, 0.0, 0.336)],
)
def test_few_prompts_give_a_wide_interval(wins: list[float], low: float, high: float) -> None:
    # Exact: n wins of n are 0.025^(1/n) to 1, and none of n is 0 to 1 less that.
    rate = win_rate(wins, [0.5] * len(wins), range(len(wins)))
    assert (rate["low"], rate["high"]) == pytest.approx((low, high), abs=0.001)


def test_distinct_counts_different_ngrams_over_all_texts() -> None:
    texts = [["the", "cat", "the", "cat"], ["the", "dog"], []]
    assert distinct(texts, 1) == 3 / 6
    assert distinct(texts, 2) == 3 / 4  # the cat, cat the, the cat, the dog
    assert distinct(texts, 5) == 0.0


def test_measures_are_those_of_the_texts() -> None:
    rows = [
        {"response": "a b  c", "finish_reason": "stop"},
        {"response": "a", "finish_reason": "length"},
        {"response": "", "finish_reason": "length"},
    ]
    assert measures(rows) == {
        "words": pytest.approx(4 / 3), "finish_rate": pytest.approx(1 / 3), "distinct_1": 3 / 4, "distinct_2": 1.0,
    }  # fmt: skip


def test_the_interval_of_a_ratio_is_that_of_what_is_left_at_the_ratio() -> None:
    # The ratio is 2, and -1 and 1 are left: their mean has a standard error of 1, and Student's t is 12.706.
    low, high = ratio_interval(np.array([1.0, 3.0]), np.array([1.0, 1.0]))
    assert (low, high) == pytest.approx((2 - 12.706, 2 + 12.706), abs=1e-3)
    assert ratio_interval(np.array([2.0, 6.0, 4.0]), np.array([1.0, 3.0, 2.0])) == pytest.approx((2.0, 2.0))
    assert ratio_interval(np.array([2.0]), np.array([1.0])) == (-np.inf, np.inf)
    assert ratio_interval(np.array([2.0, 1.0]), np.zeros(2)) == (-np.inf, np.inf)


@torch.no_grad()
def log_probability(base: SharedBase, adapter: str | None, prompt: list[int], response: list[int], t: float) -> float:
    """log pi(response | prompt), token by token from full logits of one unpadded row."""
    row = torch.tensor([[*prompt, *response]])
    with base.using(adapter):
        logits = base.lm_head(base.hidden_states(row, torch.ones_like(row)))[0].double() / t
    total = 0.0
    for place, token in enumerate(response):
        total += float(logits[len(prompt) + place - 1].log_softmax(-1)[token])
    return total


def test_kl_is_the_mean_log_ratio_of_whole_responses(base: SharedBase) -> None:
    answers = [{"ids": [5 + number, 9, 40, 2][: 2 + number % 3]} for number in range(20)]
    prompts = [PROMPTS[number % 5] for number in range(20)]
    ids = [base.renderer.prompt_ids(row["prompt"]) for row in prompts]
    policy, reference = (
        [log_probability(base, who, prompt, answer["ids"], 0.8) for prompt, answer in zip(ids, answers, strict=True)]
        for who in ("other", None)
    )
    direct = [one - other for one, other in zip(policy, reference, strict=True)]
    assert abs(math.fsum(direct) / 20) > 0.01
    asked = [base.renderer.prompt_ids(row["prompt"]) for row in prompts]
    said = [row["ids"] for row in answers]
    assert response_kl(base, "other", asked, said, 0.8).tolist() == pytest.approx(direct, abs=1e-4)
    assert response_kl(base, "same", asked, said, 0.8).tolist() == pytest.approx([0.0] * 20, abs=1e-6)


# --- the comparison ---


def test_kl_and_length_have_an_interval_over_prompts(base: SharedBase, tmp_path: Path) -> None:
    found = compare(base, "other", tmp_path)["sampled"]
    kl = [pair["kl"] for pair in found["pairs"]]
    half = 2.776 * np.std(kl, ddof=1) / math.sqrt(5)
    assert found["kl"] == pytest.approx(np.mean(kl))
    assert found["kl_interval"] == pytest.approx([found["kl"] - half, found["kl"] + half], rel=1e-3)
    ratio = found["measures"]["policy"]["words"] / found["measures"]["base"]["words"]
    low, high = found["length_interval"]
    assert (low + high) / 2 == pytest.approx(ratio)
    (tmp_path / "one").mkdir()
    alone = evaluate(CONFIG, base, "other", PROMPTS[:1], {"size": by_size}, tmp_path / "one", seed=4, advance=print)
    assert not {"kl_interval", "length_interval"} & alone["sampled"].keys(), "one prompt tells nothing of others"


def test_an_adapter_that_changes_nothing_ties_everywhere(base: SharedBase, tmp_path: Path) -> None:
    found = compare(base, "same", tmp_path)
    for mode in ("sampled", "greedy"):
        assert found[mode]["win_rates"]["size"] == {
            "win_rate": 0.5,
            "low": pytest.approx(0.094, abs=0.001),
            "high": pytest.approx(0.906, abs=0.001),
            "n": 5,
        }
        assert found[mode]["measures"]["base"] == found[mode]["measures"]["policy"]
        assert all(pair["base"] == pair["policy"] for pair in found[mode]["pairs"])
    assert found["mean_kl"] == pytest.approx(0.0, abs=1e-6)
    assert found["distinct2_ratio"] == 1.0


def test_an_adapter_that_changes_much_is_seen(base: SharedBase, tmp_path: Path) -> None:
    found = compare(base, "other", tmp_path, first=by_size, second=lambda prompts, answers: [0.0] * len(answers))
    assert found["mean_kl"] > 0.1
    pairs = found["sampled"]["pairs"]
    assert {pair["prompt"][0]["content"] for pair in pairs} == {row["prompt"][0]["content"] for row in PROMPTS}
    gains = [size(pair["policy"]) - size(pair["base"]) for pair in pairs]
    assert gains == sorted(gains, reverse=True)
    assert any(gains)
    assert found["sampled"]["win_rates"]["first"]["win_rate"] == sum((1 + (g > 0) - (g < 0)) / 2 for g in gains) / 5
    assert found["sampled"]["win_rates"]["second"]["win_rate"] == 0.5


def test_judges_are_not_told_whose_response_it_is(base: SharedBase, tmp_path: Path) -> None:
    seen: list[set[str]] = []

    def judge(prompts: Sequence[Any], answers: Sequence[Any]) -> list[float]:
        seen.extend(set(row) for row in answers)
        return [0.0] * len(answers)

    compare(base, "other", tmp_path, judge=judge)
    assert len(seen) == 4 * len(PROMPTS)
    assert all(keys == {"ids", "response", "finish_reason"} for keys in seen)


def test_an_interrupted_comparison_answers_only_what_is_missing(
    base: SharedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = compare(base, "other", tmp_path)
    (tmp_path / "policy-greedy.jsonl").unlink()
    calls: list[int] = []

    def sample(base: SharedBase, prompts: list[list[int]], *positional: Any, **named: Any) -> Any:
        calls.append(len(prompts))
        return original(base, prompts, *positional, **named)

    original = module.sample
    monkeypatch.setattr(module, "sample", sample)
    assert compare(base, "other", tmp_path) == whole
    assert calls == [len(PROMPTS)]


# --- best-of-n as an opponent ---


class BySize:
    """What `by_size` judges by, as a scorer of token ids."""

    def __init__(self, base: SharedBase) -> None:
        self.base = base

    def score(self, prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        return torch.tensor([float(size(self.base.renderer.text(ids))) for ids in response_ids])


def test_best_of_n_beats_the_base_by_what_it_chooses_by(base: SharedBase, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"best_of_n": 8})
    told: list[int] = []

    def run() -> dict[str, Any]:
        return evaluate(
            config, base, "same", PROMPTS, {"size": by_size}, tmp_path, seed=4, advance=told.append, scorer=BySize(base)
        )

    found = run()["sampled"]["best_of_n"]
    assert found["n"] == 8
    assert found["kl"] == pytest.approx(math.log(8) - 7 / 8)
    assert found["over_base"]["size"]["win_rate"] > 0.7
    # The policy is the base here, so what best-of-n gains over one it gains over the other.
    assert found["win_rates"]["size"]["win_rate"] == pytest.approx(1 - found["over_base"]["size"]["win_rate"])
    assert sum(told) == config.responses * len(PROMPTS)
    assert run()["sampled"]["best_of_n"] == found  # from the answers that were kept
    assert sum(told) == 2 * config.responses * len(PROMPTS)


def test_best_of_n_is_left_out_unless_asked_for(base: SharedBase, tmp_path: Path) -> None:
    assert "best_of_n" not in compare(base, "same", tmp_path)["sampled"]
