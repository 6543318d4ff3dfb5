"""Value networks on the shared base: they predict the return of a response before each of its tokens.

`ValueHead` is a linear head on the states of the frozen base; `ValueAdapter` has a LoRA adapter of its own under its
head. Neither is kept after training: another run has other rewards.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from accelerate import Accelerator

from backbone.adapters import SharedBase, lora_config
from backbone.hidden_states import states_before
from backbone.training.activation_checkpointing import checkpointed
from policy.algorithms.losses import value_loss
from policy.config import PolicyConfig
from policy.native.master_weights import MasterWeights
from policy.native.minibatches import micro_batches, minibatches
from policy.native.rollout import Rollout

ADAPTER = "value"
_DECAY, _PER = 0.8, 32  # the weight of what was learned earlier falls by this factor per so many responses
_RIDGE = 1.0  # the prior V = constant weighs as much as this many responses


class ValueNetwork(Protocol):
    """V(s_t), where s_t is the prompt and the tokens before the t-th; 0 everywhere at first."""

    def predict(self, rollout: Rollout) -> torch.Tensor:
        """V before every token of this process's rollout, as constants: (n, T)."""

    def fit(
        self, values: torch.Tensor, returns: torch.Tensor, *, step: int, seed: int, accelerator: Accelerator
    ) -> None:
        """Learn from the returns (n, T) of the last predicted rollout, for which `values` (n, T) was predicted."""

    def state(self) -> Any:
        """What `restore` continues from."""

    def restore(self, state: Any) -> None:
        """Continue from that state."""


def build_value_network(config: PolicyConfig, base: SharedBase, seed: int) -> ValueNetwork:
    """The network that the configuration asks for."""
    return ValueHead(config, base) if config.value_network == "head" else ValueAdapter(config, base, seed)


class ValueHead:
    """A linear function of the base's states, fitted by least squares to the returns of the last responses.

    The base does not change, so its states are computed once per step, and earlier steps are kept as two sums. There is
    no learning rate to choose. Ridge regression (Hoerl & Kennard 1970) with forgetting; each response counts as one,
    whatever its length. A fifth is forgotten per 32 responses, so that the memory holds 160 of them, or the last step
    if that is more, whatever the size of a step.
    """

    def __init__(self, config: PolicyConfig, base: SharedBase) -> None:
        self._config, self._base = config, base
        size = base.hidden_size + 1
        self._gram = torch.zeros(size, size, dtype=torch.float64, device=base.device)
        self._target = torch.zeros(size, dtype=torch.float64, device=base.device)
        self._weights = torch.zeros(size, dtype=torch.float64, device=base.device)
        self._states: dict[int, torch.Tensor] = {}

    @torch.no_grad()
    def predict(self, rollout: Rollout) -> torch.Tensor:
        """As `ValueNetwork.predict`."""
        self._states, values = {}, torch.zeros_like(rollout.mask)
        for rows in micro_batches(rollout, range(len(rollout.rows)), self._config.micro_batch):
            with self._base.using(None):
                states = _states(self._base, rollout, rows)
            for row, part in zip(rows, _by_row(states, rollout, rows), strict=True):
                self._states[row] = part
                values[row, : len(part)] = (_features(part) @ self._weights).float()
        return values

    @torch.no_grad()
    def fit(
        self, values: torch.Tensor, returns: torch.Tensor, *, step: int, seed: int, accelerator: Accelerator
    ) -> None:
        """As `ValueNetwork.fit`."""
        gram, target = torch.zeros_like(self._gram), torch.zeros_like(self._target)
        for row, states in self._states.items():
            features = _features(states)
            gram += features.T @ features / len(features)
            target += features.T @ returns[row, : len(features)].double() / len(features)
        if accelerator.num_processes > 1:
            gram, target = accelerator.reduce((gram, target), reduction="sum")
        responses = float(gram[-1, -1])  # of all processes: each has added 1 here, by its constant feature
        decay = _DECAY ** (responses / _PER)
        self._gram, self._target = decay * self._gram + gram, decay * self._target + target
        self._solve()

    def state(self) -> dict[str, torch.Tensor]:
        """As `ValueNetwork.state`."""
        return {"gram": self._gram, "target": self._target}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """As `ValueNetwork.restore`."""
        self._gram, self._target = state["gram"], state["target"]
        self._solve()

    def _solve(self) -> None:
        ridge = torch.full_like(self._target, _RIDGE)
        ridge[-1] = 1e-6  # the constant itself
        self._weights = torch.linalg.solve(self._gram + ridge.diag(), self._target)


class ValueAdapter:
    """A LoRA adapter with a linear head, trained on half the squared error with as many updates as the policy."""

    def __init__(self, config: PolicyConfig, base: SharedBase, seed: int) -> None:
        self._config, self._base = config, base
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            lora = lora_config(config.lora_rank, config.lora_alpha, config.lora_targets)
            base.add_adapter(ADAPTER, lora, share=config.lora_layers)
        self._head = torch.nn.Linear(base.hidden_size, 1, device=base.device)
        torch.nn.init.zeros_(self._head.weight)
        torch.nn.init.zeros_(self._head.bias)
        head = {f"head.{name}": weight for name, weight in self._head.named_parameters()}
        self._master = MasterWeights(
            (config.value_learning_rate, head), (config.learning_rate, base.parameters(ADAPTER))
        )
        self._rollout: Rollout | None = None

    @torch.no_grad()
    def predict(self, rollout: Rollout) -> torch.Tensor:
        """As `ValueNetwork.predict`."""
        self._rollout, values = rollout, torch.zeros_like(rollout.mask)
        with self._base.using(ADAPTER):
            for rows in micro_batches(rollout, range(len(rollout.rows)), self._config.micro_batch):
                values[rows] = self._values(rows)
        return values

    def fit(
        self, values: torch.Tensor, returns: torch.Tensor, *, step: int, seed: int, accelerator: Accelerator
    ) -> None:
        """As `ValueNetwork.fit`."""
        config, rollout = self._config, self._rollout
        assert rollout is not None, "predict comes first"
        self._master.zero_grad()
        with checkpointed(self._base.base, config.gradient_checkpointing):
            for _, mine, n in minibatches(config, rollout, step, seed, accelerator.num_processes):
                for rows in micro_batches(rollout, mine, config.micro_batch):
                    with self._learning():
                        now, mask = self._values(rows), rollout.mask[rows]
                        loss = value_loss(now, returns[rows], mask, n, old_values=values[rows], clip=config.value_clip)
                        self._master.backward(loss)
                self._master.step(accelerator, config.max_grad_norm, warmup_factor(config, step))

    def state(self) -> dict[str, Any]:
        """As `ValueNetwork.state`."""
        return self._master.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """As `ValueNetwork.restore`."""
        self._master.restore(state)

    @contextmanager
    def _learning(self) -> Iterator[None]:
        """Let gradients reach this adapter in place of the policy's."""
        before, self._base.trainable = self._base.trainable, ADAPTER
        with self._base.using(ADAPTER):
            try:
                yield
            finally:
                self._base.trainable = before

    def _values(self, rows: Sequence[int]) -> torch.Tensor:
        assert self._rollout is not None, "predict comes first"
        mask = self._rollout.mask[list(rows)]
        values = self._head(_scaled(_states(self._base, self._rollout, rows))).squeeze(-1)
        return torch.zeros_like(mask).index_put(mask.nonzero(as_tuple=True), values)


def warmup_factor(config: PolicyConfig, step: int) -> float:
    """The share of the learning rates in this step, counted from 0."""
    return min(1.0, (step + 1) / (config.warmup_steps + 1))


def _states(base: SharedBase, rollout: Rollout, rows: Sequence[int]) -> torch.Tensor:
    """The states before each response token of the rows: (tokens, hidden), under the active adapter."""
    return states_before(base, [rollout.prompt_ids[row] for row in rows], [rollout.response_ids[row] for row in rows])


def _by_row(states: torch.Tensor, rollout: Rollout, rows: Sequence[int]) -> Sequence[torch.Tensor]:
    return torch.split(states, [len(rollout.response_ids[row]) for row in rows])


def _scaled(states: torch.Tensor) -> torch.Tensor:
    """To mean 0 and variance 1 (Ba et al. 2016), so that the same learning rates and ridge suit every model."""
    return torch.nn.functional.layer_norm(states.float(), states.shape[-1:])


def _features(states: torch.Tensor) -> torch.Tensor:
    """Scaled states of length 1, and a constant: (tokens, hidden + 1), fp64."""
    scaled = _scaled(states).double() / states.shape[-1] ** 0.5
    return torch.cat([scaled, scaled.new_ones(len(scaled), 1)], dim=1)
