"""All that the next training step depends on, and how it begins. `checkpoints.py` saves it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backbone.adapters import SharedBase
from backbone.training.activation_checkpointing import layers_to_recompute
from backbone.training.running_moments import RunningMoments
from policy.algorithms.advantages import RunningMean
from policy.algorithms.kl import AdaptiveKL
from policy.algorithms.length import LengthBand
from policy.config import PolicyConfig, algorithm_of
from policy.initial_adapter import add_initial_adapter
from policy.native.master_weights import MasterWeights
from policy.native.value_network import ValueNetwork, build_value_network
from policy.scorer_protocol import Mixture

ADAPTER = "policy"
LOG = "log.jsonl"
Row = dict[str, Any]


@dataclass
class TrainState:
    """All that the next step depends on, besides the seed."""

    policy: MasterWeights
    value: ValueNetwork | None = None
    step: int = 0
    baseline: RunningMean = field(default_factory=RunningMean)
    moments: RunningMoments = field(default_factory=RunningMoments)
    kl: AdaptiveKL | None = None
    length: LengthBand | None = None
    base_length: float = 0.0  # the base's, in tokens; 0 if lengths are not controlled
    mixture: Mixture | None = None

    def controlled(self, config: PolicyConfig) -> bool:
        """Whether every control that the configuration asks for has begun."""
        kl = config.kl_target is not None and config.kl_coefficient > 0
        return (self.kl is not None or not kl) and (self.length is not None or config.length_control == "none")

    def kl_coefficient(self, config: PolicyConfig) -> float:
        """Beta in this step: adapted, or as configured; as configured too until the rewards are known to differ."""
        return self.kl.coefficient if self.kl else config.kl_coefficient


def initial_state(config: PolicyConfig, base: SharedBase, seed: int, initial: Path | None = None) -> TrainState:
    """A new adapter on the base, or `initial` with its own rank and layers; a value network if one is needed."""
    if config.gradient_checkpointing:
        layers_to_recompute(base.base)
    add_initial_adapter(base, ADAPTER, config, seed, initial)
    weights = base.parameters(ADAPTER)
    state = TrainState(MasterWeights((config.learning_rate, weights), dtype=base.base.dtype))
    if algorithm_of(config).needs_values:
        state.value = build_value_network(config, base, seed)
    base.check_trainable(ADAPTER)
    return state
