"""All that the next training step depends on, and how it begins. `checkpoints.py` saves it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backbone.adapters import SharedBase
from backbone.training.activation_checkpointing import layers_to_recompute
from backbone.training.running_moments import RunningMoments
from policy.algorithms.advantages import RunningMean
from policy.algorithms.kl import AdaptiveKL
from policy.config import PolicyConfig, algorithm_of
from policy.initial_adapter import add_initial_adapter
from policy.native.master_weights import MasterWeights
from policy.native.value_network import ValueNetwork, build_value_network
from policy.scorer_protocol import Mixture

ADAPTER = "policy"
LOG = "log.jsonl"
_KL_HORIZON = 10  # steps: at most 2% a step, as in Ziegler et al. 2019
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
    mixture: Mixture | None = None

    def kl_coefficient(self, config: PolicyConfig) -> float:
        """Beta in this step: adapted, or as configured."""
        return self.kl.coefficient if self.kl else config.kl_coefficient


def initial_state(config: PolicyConfig, base: SharedBase, seed: int, initial: Path | None = None) -> TrainState:
    """A new adapter on the base, or `initial` with its own rank and layers; a value network if one is needed."""
    if config.gradient_checkpointing:
        layers_to_recompute(base.base)
    add_initial_adapter(base, ADAPTER, config, seed, initial)
    weights = base.parameters(ADAPTER)
    state = TrainState(MasterWeights((config.learning_rate, weights), dtype=base.base.dtype))
    if config.kl_target is not None:
        horizon = config.kl_horizon or _KL_HORIZON * config.prompts_per_step * config.group
        state.kl = AdaptiveKL(config.kl_coefficient, config.kl_target, horizon)
    if algorithm_of(config).needs_values:
        state.value = build_value_network(config, base, seed)
    base.check_trainable(ADAPTER)
    return state
