"""Tables: what they learn, against what enumeration says exactly."""

import itertools
import math
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from foundation.errors import UserError
from policy.textbook.enumeration import (
    action_values,
    enumerate_states,
    occupancy,
    optimal_table,
    policy_gradient,
    policy_value,
    softmax,
    value_iteration,
)
from policy.textbook.environment import TextGenerationEnv
from policy.textbook.tabular import Table, TabularConfig, greedy_text, learn_table

SEEDS = range(20)


def three_words(**changes: Any) -> TextGenerationEnv:
    env = gymnasium.make("rlhf_pipeline/ThreeWords-v0", **changes).unwrapped
    assert isinstance(env, TextGenerationEnv)
    return env


def short_or_long(prompts: list[Any], completions: list[str], **columns: Any) -> list[float]:
    """A reward without a pattern, different for each text and prompt."""
    pairs = zip(prompts, completions, strict=True)
    return [math.sin(7 * len(text) + 3 * text.count("b") + (prompt == "b")) for prompt, text in pairs]


def irregular() -> TextGenerationEnv:
    """Prompts, an end, a discount and rewards at every token."""
    return TextGenerationEnv(
        ["a", "b", "."],
        short_or_long,
        max_length=3,
        eos=".",
        prompts=["a", "b", "a b"],
        discount=0.8,
        step_reward=lambda words: 0.1 * len(words) * (words[-1] == "a"),
    )


def error(table: Table, best: Table) -> float:
    return max(float(np.abs(table.values[state] - values).max()) for state, values in best.values.items())


@pytest.fixture(scope="module")
def learned() -> list[Table]:
    return [learn_table(three_words(), TabularConfig(), seed=seed) for seed in SEEDS]


def test_q_learning_writes_the_target_in_every_seed(learned: list[Table]) -> None:
    assert greedy_text(three_words(), Table(3)) == "我我我"
    assert [greedy_text(three_words(), table) for table in learned] == ["我爱你"] * len(SEEDS)


def test_the_table_of_q_learning_converges_to_value_iteration(learned: list[Table]) -> None:
    best = optimal_table(enumerate_states(three_words().task))
    assert len(best.values) == 13
    assert best.values[()].tolist() == [3, -3, -3]
    assert best.values[(0, 1)].tolist() == [-1, -1, 1]
    errors = [error(table, best) for table in learned]
    assert max(errors) <= 1e-3
    early = learn_table(three_words(), TabularConfig(episodes=300), seed=0)
    assert error(early, best) > 10 * max(errors)


def test_q_learning_converges_where_there_are_prompts_discounts_and_an_end() -> None:
    env = irregular()
    table = learn_table(env, TabularConfig(episodes=6000, epsilon_decay=0.0), seed=0)
    best = optimal_table(enumerate_states(env.task))
    assert error(table, best) <= 1e-3
    for prompt in ("a", "b", "a b"):
        assert greedy_text(env, table, {"prompt": prompt}) == greedy_text(env, best, {"prompt": prompt})


def test_sarsa_writes_the_target_in_every_seed() -> None:
    config = TabularConfig(algorithm="sarsa", episodes=600)
    texts = [greedy_text(three_words(), learn_table(three_words(), config, seed=seed)) for seed in SEEDS]
    assert texts == ["我爱你"] * len(SEEDS)


def test_sarsa_values_the_policy_that_explores_and_q_learning_the_best_one() -> None:
    env = three_words()
    tree = enumerate_states(env.task)
    uniform = dict(zip(tree.states, action_values(tree, np.zeros_like(tree.rewards)), strict=True))
    explorer = TabularConfig(algorithm="sarsa", episodes=4000, epsilon_decay=0.0, learning_rate_decay=1.0)
    sarsa = learn_table(env, explorer, seed=0)
    assert error(sarsa, Table(3, uniform)) < 0.15
    assert error(sarsa, optimal_table(tree)) > 1
    assert sarsa.values[()][0] == pytest.approx(1 - 1 / 3 - 7 / 9, abs=0.15)  # by hand: 1 + (1-2)/3 + (1-8)/9


def test_an_update_is_that_of_the_textbook() -> None:
    env = three_words(discount=0.5)
    config = TabularConfig(episodes=1, epsilon=0.0, learning_rate=0.5, learning_rate_decay=0.0)
    table = Table(3)
    table.row(())[:] = [2.0, 0.0, 0.0]
    table.row((0,))[:] = [0.0, 8.0, -4.0]
    table.row((0, 1))[:] = [0.0, 0.0, 4.0]
    learn_table(env, config, seed=0, table=table)
    assert table.values[()].tolist() == [2 + 0.5 * (1 + 0.5 * 8 - 2), 0, 0]
    assert table.values[(0,)].tolist() == [0, 8 + 0.5 * (1 + 0.5 * 4 - 8), -4]
    assert table.values[(0, 1)].tolist() == [0, 0, 4 + 0.5 * (1 - 4)]
    assert table.visits[(0, 1)].tolist() == [0, 0, 1]


def test_learning_is_repeatable_and_can_go_on() -> None:
    half = TabularConfig(episodes=50)
    first, again = (learn_table(three_words(), half, seed=3) for _ in range(2))
    assert first.values.keys() == again.values.keys()
    assert all((first.values[state] == again.values[state]).all() for state in first.values)
    told: list[tuple[int, float]] = []
    further = learn_table(three_words(), half, seed=4, table=again, on_episode=lambda *row: told.append(row))
    assert sum(further.visits[()]) == 100
    assert [episode for episode, _ in told] == list(range(50))
    assert {total for _, total in told} <= {3.0, 1.0, -1.0, -3.0}
    with pytest.raises(UserError, match="table is of 2 tokens"):
        learn_table(three_words(), half, seed=0, table=Table(2))


def test_a_step_that_was_cut_off_from_outside_still_counts_on_what_would_follow() -> None:
    env = gymnasium.make("rlhf_pipeline/ThreeWords-v0", max_episode_steps=1)
    table = Table(3)
    table.row((0,))[:] = [0.0, 2.0, 0.0]
    table.row(())[:] = [1.0, 0.0, 0.0]
    learn_table(env, TabularConfig(episodes=1, epsilon=0.0), seed=0, table=table)
    assert table.values[()][0] == 1 + 2


def test_a_table_comes_back_from_disk_to_the_last_bit(tmp_path: Path, learned: list[Table]) -> None:
    learned[0].save(tmp_path / "table.json")
    back = Table.load(tmp_path / "table.json")
    assert back.actions == 3
    assert back.values.keys() == learned[0].values.keys()
    for state, values in learned[0].values.items():
        np.testing.assert_array_equal(back.values[state], values)
        np.testing.assert_array_equal(back.visits[state], learned[0].visits[state])
    assert [path.name for path in tmp_path.iterdir()] == ["table.json"]


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        '{"actions": 2, "rows": [{"state": [0], "values": [1], "visits": [1]}]}',
        '{"actions": 1, "rows": [{"state": [0], "values": [NaN], "visits": [1]}]}',
        '{"actions": 1, "rows": [{"state": 0, "values": [1], "visits": [1]}]}',
        '{"actions": 1, "rows": [{"values": [1], "visits": [1]}]}',
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "table.json").write_text(content)
    with pytest.raises(UserError, match="is not a table of action values"):
        Table.load(tmp_path / "table.json")


def outcomes(env: TextGenerationEnv, policy: dict[Any, Any]) -> float:
    """The expected discounted return, by playing every sequence of tokens through the environment itself."""
    total = 0.0
    for prompt in range(len(env.task.prompts)):
        ended: set[tuple[int, ...]] = set()
        for actions in itertools.product(range(3), repeat=3):
            env.reset(options={"prompt": prompt})
            probability, value, over = 1.0, 0.0, False
            for t, action in enumerate(actions):
                probability *= policy[env.task.state(env.episode)][action]
                _, reward, over, _, _ = env.step(action)
                value += env.discount**t * reward
                if over:
                    break
            if tuple(env.episode.tokens) not in ended:
                ended.add(tuple(env.episode.tokens))
                total += probability * value / len(env.task.prompts)
    return total


@pytest.mark.parametrize("make", [three_words, irregular])
def test_the_exact_value_is_that_of_playing_every_text(make: Any) -> None:
    env = make()
    tree = enumerate_states(env.task)
    logits = np.random.default_rng(0).normal(size=tree.rewards.shape)
    policy = dict(zip(tree.states, softmax(logits), strict=True))
    assert policy_value(tree, logits) == pytest.approx(outcomes(env, policy), abs=1e-12)


@pytest.mark.parametrize("make", [three_words, irregular])
def test_the_exact_gradient_is_that_of_finite_differences(make: Any) -> None:
    tree = enumerate_states(make().task)
    logits = np.random.default_rng(1).normal(size=tree.rewards.shape)
    gradient = policy_gradient(tree, logits)
    differences = np.zeros_like(gradient)
    for place in np.ndindex(*logits.shape):
        nudge = np.zeros_like(logits)
        nudge[place] = 1e-5
        differences[place] = (policy_value(tree, logits + nudge) - policy_value(tree, logits - nudge)) / 2e-5
    np.testing.assert_allclose(gradient, differences, atol=1e-9)
    assert np.abs(gradient).max() > 0.01


def test_gradient_ascent_comes_to_the_value_of_value_iteration() -> None:
    tree = enumerate_states(three_words().task)
    logits = np.zeros_like(tree.rewards)
    assert policy_value(tree, logits) == pytest.approx(-3 + 2 * (1 / 3 + 1 / 9 + 1 / 27))
    for _ in range(500):
        logits += policy_gradient(tree, logits)
    best = float(tree.start @ value_iteration(tree).max(axis=1))
    assert best - 0.02 < policy_value(tree, logits) < best == 3


def test_occupancy_counts_every_way_to_a_state() -> None:
    tree = enumerate_states(three_words().task)
    weights = occupancy(tree, np.zeros_like(tree.rewards))
    assert [weights[level].sum() for level in tree.levels] == pytest.approx([1, 1, 1])
    discounted = enumerate_states(three_words(discount=0.5).task)
    weights = occupancy(discounted, np.zeros_like(tree.rewards))
    assert [weights[level].sum() for level in tree.levels] == pytest.approx([1, 0.5, 0.25])


def test_what_cannot_be_enumerated_is_refused() -> None:
    with pytest.raises(UserError, match="more than 100 unfinished texts"):
        enumerate_states(three_words(max_length=6).task, limit=100)
    assert len(enumerate_states(three_words(max_length=5).task, limit=121).states) == 121
    twice = TextGenerationEnv(["a", "b"], short_or_long, max_length=2, prompts=["a", "a"])
    with pytest.raises(UserError, match="two prompts are the same"):
        enumerate_states(twice.task)
