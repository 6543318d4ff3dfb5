"""Exact solutions of small text tasks, by enumerating every state and reward.

Optimal values by value iteration; the exact value of a softmax table policy and its exact gradient, in float64. Sampled
algorithms are tested against them. The number of states grows as vocabulary ** max_length.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from policy.textbook.tabular import Table
from policy.textbook.text_task import Episode, State, TextTask
from policy.textbook.vocabulary import SpecificationError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tree:
    """Every unfinished text of a task, S in all, shorter ones first; V is the vocabulary.

    states: as keys of tables; start: (S,), the probability of beginning in each; children: (S, V), the state after each
    token, or -1 where the text ends; rewards: (S, V); levels: the states of equal length.
    """

    states: list[State]
    start: Floats
    children: NDArray[np.int64]
    rewards: Floats
    levels: list[slice]
    discount: float


def enumerate_states(task: TextTask, limit: int = 200_000) -> Tree:
    """Write every text there is. Each reward function is called once a level, for all its texts.

    `SpecificationError` if there are more than `limit` unfinished ones, or if two prompts look the same.
    """
    size = task.vocabulary.size
    open_ = _begin_all(task)
    states: list[State] = []
    levels: list[slice] = []
    children: list[int] = []
    rewards: list[float] = []
    while open_:
        if len(states) + len(open_) * size > limit and len(open_[0].tokens) + 1 < task.max_length:
            raise SpecificationError(
                f"there are more than {limit} unfinished texts of up to {task.max_length} tokens out of {size}, too "
                "many to enumerate. Take fewer words or a smaller max_length, or learn from samples."
            )
        levels.append(slice(len(states), len(states) + len(open_)))
        states += [task.state(episode) for episode in open_]
        after = [
            replace(episode, tokens=[*episode.tokens], pieces=[*episode.pieces])
            for episode in open_
            for _ in range(size)
        ]
        paid = task.advance(after, list(range(size)) * len(open_))
        rewards += [reward for reward, _ in paid]
        numbers = iter(range(len(states), len(states) + len(after)))
        children += [-1 if episode.finish_reason else next(numbers) for episode in after]
        open_ = [episode for episode in after if not episode.finish_reason]
    start = np.zeros(len(states))
    start[levels[0]] = 1 / len(task.prompts)
    shape = (len(states), size)
    return Tree(states, start, np.reshape(children, shape), np.reshape(rewards, shape), levels, task.discount)


def value_iteration(tree: Tree, tolerance: float = 0.0) -> Floats:
    """Optimal action values: (S, V). Sutton & Barto 2018, eq. 4.10, for action values (eq. 3.20), until convergence.

    Texts only grow, so it converges, exactly, after as many sweeps as a text has tokens.
    """
    values = np.zeros_like(tree.rewards)
    while True:
        swept = _backed_up(tree, values.max(axis=1))
        change = np.abs(swept - values).max()
        values = swept
        if change <= tolerance:
            return values


def optimal_table(tree: Tree) -> Table:
    """The solution of `value_iteration` as a table, to write texts with or to compare a learned one with."""
    values = dict(zip(tree.states, value_iteration(tree), strict=True))
    return Table(tree.rewards.shape[1], values, {state: np.zeros(len(row), np.int64) for state, row in values.items()})


def action_values(tree: Tree, logits: Floats) -> Floats:
    """q(s, a) of the policy softmax(logits), logits (S, V): (S, V). Sutton & Barto 2018, eq. 3.14, solved backwards."""
    policy = softmax(logits)
    values = np.zeros_like(tree.rewards)
    for _ in tree.levels:
        values = _backed_up(tree, (policy * values).sum(axis=1))
    return values


def policy_value(tree: Tree, logits: Floats) -> float:
    """J: the discounted return that the policy softmax(logits) can expect, exactly."""
    return float(tree.start @ (softmax(logits) * action_values(tree, logits)).sum(axis=1))


def policy_gradient(tree: Tree, logits: Floats) -> Floats:
    """The gradient of `policy_value` in the logits, exactly: (S, V).

    The policy gradient theorem (Sutton & Barto 2018, eq. 13.5), with equality: d(s) pi(a|s) (q(s, a) - v(s)), where
    d(s) is `occupancy`.
    """
    policy, values = softmax(logits), action_values(tree, logits)
    advantages = values - (policy * values).sum(axis=1, keepdims=True)
    gradient: Floats = occupancy(tree, logits)[:, None] * policy * advantages
    return gradient


def occupancy(tree: Tree, logits: Floats) -> Floats:
    """d(s): the probability that the policy comes to a state, times gamma for each token on the way: (S,)."""
    policy, weight = softmax(logits), tree.start.copy()
    for level in tree.levels:
        leads, going = tree.children[level], tree.children[level] >= 0
        weight[leads[going]] = (tree.discount * weight[level, None] * policy[level])[going]
    return weight


def softmax(logits: Floats) -> Floats:
    """Probabilities along the last axis. Sutton & Barto 2018, eq. 13.2."""
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: Floats = raised / raised.sum(axis=-1, keepdims=True)
    return probabilities


def _backed_up(tree: Tree, values: Floats) -> Floats:
    """Reward plus gamma v(next state), with 0 after the end: (S, V)."""
    backed: Floats = tree.rewards + tree.discount * np.append(values, 0.0)[tree.children]
    return backed


def _begin_all(task: TextTask) -> list[Episode]:
    generator = np.random.default_rng(0)
    episodes = [task.begin(generator, {"prompt": number}) for number in range(len(task.prompts))]
    if len({task.state(episode) for episode in episodes}) < len(episodes):
        raise SpecificationError("two prompts are the same, so that their texts share states. Give each prompt once.")
    return episodes
