"""The gate on planted labels: what knows nothing is stopped, what knows something passes."""

import numpy as np
import pytest

from backbone.adapters import SharedBase
from benchmarks.bounds import evidence, pairs_of
from reward_model.bag_of_words import BagOfWords
from reward_model.evaluation.accuracy import credit
from reward_model.evaluation.baselines import cross_validated
from reward_model.evaluation.gate import cross_fitted_head, gate, weigh
from reward_model.evaluation.probe import PairStates
from reward_model.labels.records import Pair

SEEDS = range(20)


@pytest.mark.parametrize("why", ["coin", "length", "words"])
def test_labels_that_hold_nothing_beyond_the_controls_are_stopped_on_every_seed(why: str) -> None:
    assert [seed for seed in SEEDS if evidence(why, seed).passed] == []


def test_labels_of_a_quality_pass_on_every_seed() -> None:
    assert [seed for seed in SEEDS if not evidence("quality", seed).passed] == []


def test_a_model_that_is_always_right_passes_and_one_that_is_always_wrong_does_not() -> None:
    draw = np.random.default_rng(0)
    lengths, words, prompts = draw.normal(size=40), draw.normal(size=40), [str(i) for i in range(40)]
    right = draw.uniform(0.5, 1.5, 40)
    assert weigh(right, lengths, words, prompts).passed
    assert not weigh(-right, lengths, words, prompts).passed
    assert not weigh(0 * right, lengths, words, prompts).passed


def test_pairs_of_one_prompt_are_no_more_evidence_than_one() -> None:
    draw = np.random.default_rng(1)
    scores, lengths, words = draw.normal(1, 1, 20), draw.normal(size=20), draw.normal(size=20)
    once = weigh(scores, lengths, words, [str(i) for i in range(20)])
    five_times = [np.repeat(each, 5) for each in (scores, lengths, words)]
    again = weigh(*five_times, [str(i // 5) for i in range(100)])
    assert again.statistic == pytest.approx(once.statistic, rel=0.01)
    assert again.needed == once.needed


@pytest.mark.parametrize("few", [1, 2, 3])
def test_hardly_any_pairs_show_nothing(few: int) -> None:
    pairs = pairs_of(few, each=1)
    found = weigh(np.ones(few), np.ones(few), np.ones(few), [pair.prompt_key for pair in pairs])
    assert not found.passed
    assert np.isfinite(found.statistic)


def test_the_head_never_sees_the_prompt_that_it_judges() -> None:
    draw, pairs = np.random.default_rng(2), pairs_of(30)
    features = draw.normal(size=(30, 40))
    before = cross_fitted_head(features, pairs)
    changed = features.copy()
    changed[1] = -9 * changed[1]  # another pair of the first one's prompt
    assert cross_fitted_head(changed, pairs)[0] == pytest.approx(before[0], rel=1e-9)
    assert cross_fitted_head(features[:3], pairs[:3]).tolist() == [0.0] * 3


def test_neither_head_nor_bag_of_words_sees_another_turn_of_the_conversation_that_it_judges() -> None:
    draw = np.random.default_rng(3)
    first = [{"role": "user", "content": f"tell me of the garden {number}"} for number in range(12)]
    later = ({"role": "assistant", "content": "no"}, {"role": "user", "content": "why?"})
    prompts = [(each,) for each in first] + [(each, *later) for each in first]
    pairs = [Pair(prompt, f"the cat {n % 5} sat", f"a dog {n % 3} ran") for n, prompt in enumerate(prompts)]
    features = draw.normal(size=(24, 40))
    before, words = cross_fitted_head(features, pairs)[0], cross_validated(pairs)[0]
    features[12] = -9 * features[12]  # the next turn of the first one's conversation
    pairs[12] = Pair(pairs[12].prompt, "a dog 0 ran", "the cat 0 sat")
    assert cross_fitted_head(features, pairs)[0] == pytest.approx(before, rel=1e-9)
    assert cross_validated(pairs)[0] == pytest.approx(words, rel=1e-9)


def test_the_gate_says_what_was_seen_and_what_would_help(base: SharedBase) -> None:
    pairs = [Pair(({"role": "user", "content": f"cat {i}"},), f"the cat sat {i}", f"a dog ran {i}") for i in range(12)]
    learned, held_out = pairs[:8], pairs[8:]
    words = BagOfWords.fit(learned)
    said = gate(held_out, np.zeros(4), words, pairs, _differences(base, pairs))
    assert said["gate"] == "weak"
    assert said["gate_reason"].startswith("On 4 pairs, the reward model is right in 50.0%, length alone in ")
    assert "more judged pairs" in said["gate_reason"] or "annotators agree" in said["gate_reason"]


def test_what_a_head_knows_is_measured_on_all_labels_however_good_the_model_is() -> None:
    draw, pairs = np.random.default_rng(0), pairs_of(60)
    features = draw.normal(size=(60, 5)) + np.array([1.0, 0, 0, 0, 0])
    found = gate(pairs[:6], np.ones(6), BagOfWords.fit(pairs[6:]), pairs, features)
    assert found["head_n"] == 60
    assert found["head_accuracy"] == credit(cross_fitted_head(features, pairs)).mean() > 0.7
    assert 0.5 < found["head_low"] < found["head_accuracy"] < found["head_high"] < 1


def _differences(base: SharedBase, pairs: list[Pair]) -> np.ndarray:
    states = PairStates.of(base, pairs, 64)
    return states.differences(states.probed)
