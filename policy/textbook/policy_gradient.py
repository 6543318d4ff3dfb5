"""REINFORCE, actor-critic and PPO as in the textbook: episodes in an environment, small networks, Adam.

Every formula is a function of `policy.algorithms`, which `policy.native` uses too. Left out on purpose: a KL penalty
(there is no reference here), groups of responses to one prompt, and anything that saves memory.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import gymnasium
import torch
from pydantic import Field

from backbone.token_draws import check_drawn, draw
from foundation.settings import Settings
from policy.algorithms.advantages import RunningMean, discounted_returns, generalized_advantages, reinforce_advantages
from policy.algorithms.losses import aggregate, clipped_surrogate, entropy, surrogate, value_loss
from policy.textbook.networks import PolicyNetwork, ValueNetwork

VectorEnvironment = gymnasium.vector.VectorEnv[Any, Any, Any]
Row = dict[str, float]


class NetworkConfig(Settings):
    """What the three algorithms share. One update uses `batch` new episodes."""

    episodes: int = Field(9600, ge=1, description="episodes in all: whole batches, the last one begun counting")
    batch: int = Field(32, ge=1, description="episodes from one update to the next")
    learning_rate: float = Field(0.01, gt=0, description="of Adam, for the policy")
    value_learning_rate: float = Field(0.01, gt=0, description="of Adam, for the value function")
    entropy_coefficient: float = Field(0.01, ge=0, description="what a nat of entropy in a token's choice is worth")
    embedding: int = Field(16, ge=1, description="numbers that stand for a token")
    hidden: int = Field(64, ge=1, description="width of the hidden layer")


class ReinforceConfig(NetworkConfig):
    """REINFORCE (Williams 1992) with discounted returns."""

    algorithm: Literal["reinforce"] = Field("reinforce", description="which algorithm")
    baseline: Literal["none", "mean", "value"] = Field(
        "value", description="taken off the return: nothing, the mean reward so far, or a learned value function"
    )


class ActorCriticConfig(NetworkConfig):
    """Actor-critic with generalised advantages (Schulman et al. 2016)."""

    algorithm: Literal["actor-critic"] = Field("actor-critic", description="which algorithm")
    gae_lambda: float = Field(0.0, ge=0, le=1, description="of GAE: 0 is the one-step error, 1 the whole return")


class PPOConfig(NetworkConfig):
    """PPO (Schulman et al. 2017): several epochs on the same episodes, with the ratio clipped."""

    algorithm: Literal["ppo"] = Field("ppo", description="which algorithm")
    gae_lambda: float = Field(0.95, ge=0, le=1, description="of GAE: 0 is the one-step error, 1 the whole return")
    clip: float = Field(0.2, gt=0, description="the ratio of new to old probability counts within 1 plus or minus this")
    epochs: int = Field(4, ge=1, description="passes over the same episodes")
    minibatches: int = Field(2, ge=1, description="updates in one pass")


TextbookConfig = ReinforceConfig | ActorCriticConfig | PPOConfig


@dataclass(frozen=True)
class Episodes:
    """`n` finished episodes of up to T steps in an environment with texts of up to L tokens and V actions.

    tokens, written: (n, T, L), what was seen before each step; allowed: (n, T, V) bool; actions, logprobs (of the
    policy that chose them), rewards, mask: (n, T).
    """

    tokens: torch.Tensor
    written: torch.Tensor
    allowed: torch.Tensor
    actions: torch.Tensor
    logprobs: torch.Tensor
    rewards: torch.Tensor
    mask: torch.Tensor

    def __len__(self) -> int:
        return len(self.mask)

    def __getitem__(self, rows: Any) -> "Episodes":
        return Episodes(*(tensor[rows] for tensor in vars(self).values()))


@dataclass
class Learner:
    """A policy in training, with all that its next update depends on."""

    config: TextbookConfig
    discount: float
    policy: PolicyNetwork
    value: ValueNetwork
    generator: torch.Generator
    baseline: RunningMean = field(default_factory=RunningMean)

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.Adam(
            [
                {"params": self.policy.parameters(), "lr": self.config.learning_rate},
                {"params": self.value.parameters(), "lr": self.config.value_learning_rate},
            ]
        )

    @classmethod
    def start(cls, config: TextbookConfig, envs: VectorEnvironment, discount: float, seed: int) -> "Learner":
        """New networks of the size of the environments' texts and vocabulary."""
        length, vocabulary = _sizes(envs.single_observation_space, envs.single_action_space)
        policy = PolicyNetwork(vocabulary, length, config.embedding, config.hidden, seed)
        value = ValueNetwork(vocabulary, length, config.embedding, config.hidden, seed + 1)
        return cls(config, discount, policy, value, torch.Generator().manual_seed(seed))


def learn(learner: Learner, envs: VectorEnvironment, on_update: Callable[[Row], None] = lambda row: None) -> list[Row]:
    """Collect episodes, compute advantages, update, until the episodes are used up; returns one row per update.

    `envs` has one environment for each episode of a batch.
    """
    log: list[Row] = []
    while len(log) * envs.num_envs < learner.config.episodes:
        episodes = collect(learner.policy, envs, learner.generator)
        figures = update(learner, episodes)
        made = float((len(log) + 1) * envs.num_envs)
        log.append({"episodes": made, "reward": float(episodes.rewards.sum(1).mean()), **figures})
        on_update(log[-1])
    return log


@torch.no_grad()
def collect(
    policy: PolicyNetwork, envs: VectorEnvironment, generator: torch.Generator, greedy: bool = False
) -> Episodes:
    """One whole episode in each environment, its actions drawn from the policy (or, `greedy`, the most probable ones).

    All begin together. What an environment that ended early does until the last one ends is left out: taking whichever
    episodes end first would favour short ones.
    """
    seen, _ = envs.reset()
    going = torch.ones(envs.num_envs, dtype=torch.bool)
    steps: list[tuple[torch.Tensor, ...]] = []
    while going.any():
        # Copies: an environment may write what it shows into the same arrays again.
        tokens, written = torch.tensor(seen["tokens"]).long(), torch.tensor(seen["mask"]).float()
        allowed = torch.tensor(envs.unwrapped.action_masks())  # type: ignore[attr-defined]
        logits = policy(tokens, written).masked_fill(~allowed, -torch.inf)
        uniform = torch.rand(envs.num_envs, generator=generator)
        actions, drawn = draw(logits, uniform, 0.0 if greedy else 1.0, 1.0)
        check_drawn(drawn.tolist())
        logprobs = torch.log_softmax(logits, -1).gather(-1, actions[:, None]).squeeze(-1)
        seen, rewards, terminated, truncated, _ = envs.step(actions.numpy())
        mask = going.float()
        steps.append((tokens, written, allowed, actions, logprobs * mask, torch.tensor(rewards).float() * mask, mask))
        going = going & ~torch.tensor(terminated | truncated)
    return Episodes(*(torch.stack(column, dim=1) for column in zip(*steps, strict=True)))


@torch.no_grad()
def most_probable(policy: PolicyNetwork, seen: Mapping[str, Any], allowed: Any) -> int:
    """The token that the policy finds most probable after what it has `seen` in one environment."""
    logits = policy(torch.tensor(seen["tokens"]).long(), torch.tensor(seen["mask"]).float())
    return int(logits.masked_fill(~torch.tensor(allowed), -torch.inf).argmax())


def advantages_of(learner: Learner, episodes: Episodes) -> tuple[torch.Tensor, torch.Tensor]:
    """The advantage of each action, and the return that the value function should have predicted: both (n, T).

    REINFORCE leaves out the factor discount^t of Sutton & Barto 2018, section 13.3, as is usual: below 1 the discount
    makes late rewards count less for early actions, and late actions no less than early ones.
    """
    rewards, mask, config = episodes.rewards, episodes.mask, learner.config
    if isinstance(config, ReinforceConfig) and config.baseline != "value":
        baseline = learner.baseline if config.baseline == "mean" else RunningMean()
        return reinforce_advantages(rewards, mask, baseline, learner.discount), discounted_returns(
            rewards, learner.discount
        )
    with torch.no_grad():
        values = learner.value(episodes.tokens, episodes.written) * mask
    lambda_ = 1.0 if isinstance(config, ReinforceConfig) else config.gae_lambda
    advantages = generalized_advantages(rewards, values, mask, learner.discount, lambda_)
    return advantages, advantages + values


def policy_loss(learner: Learner, episodes: Episodes, advantages: torch.Tensor, n: int) -> tuple[torch.Tensor, float]:
    """The loss of the policy on these episodes, of `n` in the batch, and the mean entropy of its choices."""
    logits = learner.policy(episodes.tokens, episodes.written).masked_fill(~episodes.allowed, -torch.inf)
    logprobs = torch.log_softmax(logits, -1).gather(-1, episodes.actions[..., None]).squeeze(-1) * episodes.mask
    if isinstance(learner.config, PPOConfig):
        terms = clipped_surrogate(logprobs, episodes.logprobs, advantages, learner.config.clip)
    else:
        terms = surrogate(logprobs, advantages)
    loss = aggregate(terms, episodes.mask, n)
    spread = (entropy(logits) * episodes.mask).sum()
    return loss - learner.config.entropy_coefficient * spread / n, float(spread.detach() / episodes.mask.sum())


def update(learner: Learner, episodes: Episodes) -> Row:
    """One update on these episodes, or for PPO `epochs * minibatches` of them."""
    config = learner.config
    advantages, returns = advantages_of(learner, episodes)
    parts = [torch.arange(len(episodes))]
    if isinstance(config, PPOConfig):
        orders = [torch.randperm(len(episodes), generator=learner.generator) for _ in range(config.epochs)]
        parts = [part for order in orders for part in order.chunk(config.minibatches)]
    figures: Row = {}
    for rows in parts:
        part = episodes[rows]
        loss, spread = policy_loss(learner, part, advantages[rows], len(rows))
        error = value_loss(learner.value(part.tokens, part.written), returns[rows], part.mask, len(rows))
        learner.optimizer.zero_grad()
        (loss + error).backward()  # type: ignore[no-untyped-call]
        learner.optimizer.step()
        figures = {"entropy": spread, "value_error": float(error.detach())}
    learner.baseline = learner.baseline.after(episodes.rewards.sum(1))
    return figures


def _sizes(observations: gymnasium.Space[Any], actions: gymnasium.Space[Any]) -> tuple[int, int]:
    """Longest text, with its prompt, and number of actions."""
    assert isinstance(observations, gymnasium.spaces.Dict)
    assert isinstance(actions, gymnasium.spaces.Discrete)
    (length,) = observations["tokens"].shape or (0,)
    return length, int(actions.n)
