"""A policy so small that every response can be listed: expectations and variances of estimators, without sampling.

The policy is a table of logits over the states of a text task, float64. Whatever produces the logits in a real model
comes behind them by the chain rule, so that an estimator that is right here is right there. Exact gradients come from
`policy.textbook.enumeration` (the policy gradient theorem, solved backwards), which shares no code with what is
tested.
"""

import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from policy.algorithms.kl import kl_estimate
from policy.algorithms.token_rewards import token_rewards
from policy.textbook.enumeration import Tree, enumerate_states, occupancy, policy_gradient, policy_value
from policy.textbook.text_task import TextTask

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
WORDS = ["a", "b", "c", "."]
PROMPTS = ["c", "."]


class Draws(NamedTuple):
    """Every way to draw a group of responses to one prompt, D in all prompts together.

    weights: (D,), how probable each is; rows: (D, group), which responses; coefficients: (D, group, T), what the
    estimator multiplies the gradient of each token's log-probability with.
    """

    weights: torch.Tensor
    rows: torch.Tensor
    coefficients: torch.Tensor


def pays(prompts: list[Any], completions: list[str], **columns: Any) -> list[float]:
    """A reward without a pattern, mostly positive, as scores often are; larger and wider for the second prompt."""
    drawn = [random.Random(f"{prompt}|{text}").gauss(1, 1) for prompt, text in zip(prompts, completions, strict=True)]
    return [value * (4 if prompt == PROMPTS[1] else 1) for prompt, value in zip(prompts, drawn, strict=True)]


class Enumerated:
    """All n responses of at most T tokens out of `words` (of which "." ends one) to all prompts, each as probable.

    logprobs, ref_logprobs, mask, states, tokens: (n, T); scores, finished, prompt: (n,). States and tokens are 0 where
    there is none. prompt_of_state: (S,).
    """

    def __init__(self, words: int = 4, length: int = 4, prompts: int = 2) -> None:
        task = TextTask(WORDS[-words:], pays, max_length=length, eos=".", prompts=PROMPTS[:prompts])
        self.tree: Tree = enumerate_states(task)
        generator = torch.Generator().manual_seed(4)
        self.theta, self.reference = torch.randn(2, len(self.tree.states), words, generator=generator).double()
        self.theta.requires_grad_()
        self.prompts, self.words = prompts, words
        paths = [path for root in range(prompts) for path in self._paths(root)]
        n = len(paths)
        self.mask, self.states, self.tokens = torch.zeros(n, length).double(), *torch.zeros(2, n, length).long()
        for row, path in enumerate(paths):
            self.mask[row, : len(path)] = 1.0
            self.states[row, : len(path)], self.tokens[row, : len(path)] = torch.tensor(path).T
        self.prompt = self.states[:, 0]
        self.prompt_of_state = torch.zeros(len(self.tree.states)).long()
        there = self.mask > 0
        self.prompt_of_state[self.states[there]] = self.prompt[:, None].expand_as(self.states)[there]
        ends = torch.tensor([path[-1] for path in paths])
        self.scores = torch.tensor(self.tree.rewards)[ends[:, 0], ends[:, 1]]
        self.finished = ends[:, 1] == words - 1
        self.logprobs, self.ref_logprobs = self._logprobs(self.theta), self._logprobs(self.reference)

    @property
    def probabilities(self) -> torch.Tensor:
        """Of each response to its prompt: (n,)."""
        return self.logprobs.sum(1).exp()

    def rewards(self, beta: float = 0.0, estimator: Any = "k1", penalty: float = 0.0) -> torch.Tensor:
        """The engine's rewards of every token, with beta KL and `penalty` for a response that does not end: (n, T)."""
        kl = kl_estimate(self.logprobs.detach(), self.ref_logprobs, estimator)
        return token_rewards(
            self.scores, kl, self.mask, self.finished, kl_coefficient=beta, missing_eos_penalty=penalty
        )

    def task(self, beta: float = 0.0, penalty: float = 0.0) -> Tree:
        """The same rewards as a tree: at each token -beta (log pi - log pi_0), and the score at the end."""
        logs, reference = (torch.log_softmax(logits.detach(), -1) for logits in (self.theta, self.reference))
        paid = torch.tensor(self.tree.rewards) - beta * (logs - reference)
        late = torch.tensor(self.tree.children) < 0
        late[:, -1] = False
        return replace(self.tree, rewards=(paid - penalty * late.double()).numpy())

    def exact(self, beta: float = 0.0, penalty: float = 0.0) -> torch.Tensor:
        """The gradient of E[score] - beta KL(policy || reference), by the policy gradient theorem: like theta.

        The rewards' own derivative, E[-beta grad log pi], is zero.
        """
        return torch.tensor(policy_gradient(self.task(beta, penalty), self.theta.detach().numpy()))

    def value(self, theta: torch.Tensor, beta: float = 0.0) -> float:
        """E[score] - beta KL(policy || reference) of another policy, KL written out over all responses."""
        logprobs = self._logprobs(theta)
        kl = (logprobs.sum(1).exp() * (logprobs - self.ref_logprobs).sum(1)).sum() / self.prompts
        return policy_value(self.tree, theta.numpy()) - beta * float(kl)

    def visits(self) -> torch.Tensor:
        """d(s), the probability of coming to each state, without a discount: (S,)."""
        return torch.tensor(occupancy(replace(self.tree, discount=1.0), self.theta.detach().numpy()))

    def state_values(self) -> torch.Tensor:
        """What is to be expected from each state on, at each token of each response, without KL: (n, T)."""
        weight, worth = self.probabilities.detach(), torch.zeros(len(self.tree.states)).double()
        for state in range(len(worth)):
            through = ((self.states == state) & (self.mask > 0)).any(1)
            worth[state] = (weight * self.scores)[through].sum() / weight[through].sum()
        return worth[self.states] * self.mask

    def draws(self, loss: Loss, group: int = 1) -> Draws:
        """What `-loss(logprobs, rows)` asks for in every draw.

        rows: (R,), `group` responses after another to one prompt; logprobs: (R, T). `loss` must be a sum over groups,
        as if each were the whole batch.
        """
        first = len(self.prompt) // self.prompts
        each = torch.tensor(list(itertools.product(range(first), repeat=group)))
        rows = torch.cat([each + prompt * first for prompt in range(self.prompts)])
        weights = self.probabilities.detach()[rows].prod(1) / self.prompts
        logprobs = self.logprobs.detach()[rows.flatten()].requires_grad_()
        gradient = torch.autograd.grad(-loss(logprobs, rows.flatten()), logprobs)[0]
        return Draws(weights, rows, gradient.view(*rows.shape, -1))

    def expected(self, loss: Loss, group: int = 1) -> torch.Tensor:
        """The mean over all draws of the gradient of `-loss`: like theta."""
        weights, rows, coefficients = self.draws(loss, group)
        total = torch.zeros_like(self.mask).index_add(
            0, rows.flatten(), (weights[:, None, None] * coefficients).flatten(0, 1)
        )
        return torch.autograd.grad((total * self.logprobs).sum(), self.theta, retain_graph=True)[0]

    def variance(self, loss: Loss, group: int = 1) -> float:
        """The trace of the covariance of the gradient of `-loss`, over all draws."""
        weights, rows, coefficients = self.draws(loss, group)
        policy = torch.softmax(self.theta.detach(), -1)
        taken = torch.nn.functional.one_hot(self.tokens, self.words).double()
        slopes = (taken - policy[self.states]) * self.mask[..., None]  # of each log-probability, in its state's logits
        same = self.states.flatten()[:, None] == self.states.flatten()
        products = same * (slopes.flatten(0, 1) @ slopes.flatten(0, 1).T)
        places = (rows[..., None] * self.mask.shape[1] + torch.arange(self.mask.shape[1])).flatten(1)
        kernel = products[places[:, :, None], places[:, None, :]]
        flat = coefficients.flatten(1)
        squares = torch.einsum("di,dij,dj->d", flat, kernel, flat)
        return float(weights @ squares) - float(self.expected(loss, group).square().sum())

    def _paths(self, state: int) -> list[list[tuple[int, int]]]:
        """Every way from a state to an end, as states and the tokens chosen there."""
        paths = []
        for token, child in enumerate(self.tree.children[state].tolist()):
            rest = self._paths(child) if child >= 0 else [[]]
            paths += [[(state, token), *path] for path in rest]
        return paths

    def _logprobs(self, logits: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(logits, -1)[self.states, self.tokens] * self.mask


def relative_error(found: torch.Tensor, exact: torch.Tensor) -> float:
    """The largest error of any entry, in units of the largest entry of what is exact."""
    return float((found - exact).abs().max() / exact.abs().max())
