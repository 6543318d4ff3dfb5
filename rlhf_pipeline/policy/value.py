"""The value network: what a response is going to be worth, said before each of its tokens.

A linear head on the shared base, either on the states of the base as it is, which never change and are computed once a
step, or on those under a LoRA adapter of its own. It is thrown away after training: another run has other rewards.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from rlhf_pipeline.backbone.adapters import SharedBase, lora_config
from rlhf_pipeline.backbone.packed import states_before
from rlhf_pipeline.policy.config import PolicyConfig
from rlhf_pipeline.policy.rollout import Rollout, by_length
from rlhf_pipeline.policy.weights import Trained

ADAPTER = "value"


class ValueNetwork:
    """V(s_t), s_t being the prompt and the tokens before the t-th; 0 everywhere to begin with.

    The head reads states scaled to mean 0 and variance 1 (Ba et al. 2016), so that its learning rate need not know the
    model.
    """

    def __init__(self, base: SharedBase, adapter: str | None = None) -> None:
        self.base = base
        self.adapter = adapter
        self.head = torch.nn.Linear(base.hidden_size, 1, device=base.device)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)
        self._states: dict[int, torch.Tensor] = {}

    @classmethod
    def start(cls, config: PolicyConfig, base: SharedBase, seed: int) -> "ValueNetwork":
        """A new one, with an adapter on the base where the configuration asks for it."""
        if config.value_network == "head":
            return cls(base)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            base.add_adapter(ADAPTER, lora_config(config.lora_rank, config.lora_alpha, config.lora_targets))
        return cls(base, ADAPTER)

    def trained(self, config: PolicyConfig) -> Trained:
        """Its weights as they learn."""
        head = (config.value_learning_rate, {f"head.{name}": one for name, one in self.head.named_parameters()})
        if self.adapter is None:
            return Trained(head)
        return Trained(head, (config.learning_rate, self.base.parameters(self.adapter)))

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Let gradients reach the network's own adapter, if it has one, in place of the policy's."""
        before = self.base.trainable
        self.base.trainable = self.adapter
        with self.base.using(self.adapter):
            try:
                yield
            finally:
                self.base.trainable = before

    @torch.no_grad()
    def expect(self, rollout: Rollout, micro_batch: int) -> torch.Tensor:
        """V before every token of the rollout, as constants: (n, T)."""
        values = torch.zeros_like(rollout.mask)
        self._states = {}
        for rows in by_length(rollout.prompt_ids, rollout.response_ids, micro_batch):
            states = self._compute(rollout, rows)
            if self.adapter is None:
                lengths = [len(rollout.response_ids[row]) for row in rows]
                self._states |= dict(zip(rows, torch.split(states, lengths), strict=True))
            values[rows] = self._read(states, rollout.mask[rows])
        return values

    def __call__(self, rollout: Rollout, rows: Sequence[int]) -> torch.Tensor:
        """V before every token of some of the rows that were last expected: (rows, T), to be learned from."""
        states = [self._states[row] for row in rows] if self.adapter is None else [self._compute(rollout, rows)]
        return self._read(torch.cat(states), rollout.mask[list(rows)])

    def _compute(self, rollout: Rollout, rows: Sequence[int]) -> torch.Tensor:
        with self.base.using(self.adapter):
            return states_before(
                self.base, [rollout.prompt_ids[row] for row in rows], [rollout.response_ids[row] for row in rows]
            )

    def _read(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        values = self.head(torch.nn.functional.layer_norm(states.float(), states.shape[-1:])).squeeze(-1)
        return torch.zeros_like(mask).index_put(mask.nonzero(as_tuple=True), values)
