"""In a 16-bit base nothing that is kept or summed is in 16 bits: gradients, master weights, adapters that go on."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from backbone.adapter_folder import WEIGHTS
from backbone.adapters import SharedBase
from backbone.exactness import load_shared_base
from policy.native.master_weights import MasterWeights
from policy.native.rollout import Rollout
from policy.native.train import train_policy
from policy.native.training_state import ADAPTER, TrainState, initial_state
from policy.native.update import update
from policy.native.value_network import ValueAdapter
from policy.trl.train_dpo import train_dpo
from policy.trl.train_rloo_grpo import train_with_trl
from tests.policy.tiny_run import CONFIG, PROMPTS, LowIds
from tests.policy.trl import test_train_dpo
from tests.shared_base import add_random_adapter

COPIES = 64
ACCELERATOR = Accelerator(cpu=True)
SUMS = CONFIG.model_copy(update={"group": 2, "micro_batch": 1, "kl_coefficient": 0.0, "max_grad_norm": 1e9})


def base16(model: Path) -> SharedBase:
    """The tiny model in bfloat16."""
    return load_shared_base(str(model), "bfloat16", "cpu")


def copies(n: int) -> Rollout:
    """The same response n times."""
    mask, finished = torch.ones(n, 3), torch.ones(n).bool()
    prompts, responses = [[1, 5, 6]] * n, [[40, 41, 42]] * n
    return Rollout([*range(n)], prompts, responses, 0 * mask, 0 * mask, mask, torch.zeros(n), finished, {})


def assert_near(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float) -> None:
    for name, value in expected.items():
        assert float((found[name] - value).norm()) <= tolerance * float(value.norm()), name
    assert any(value.any() for name, value in expected.items() if "head" not in name)


def gradient_of(master: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    found = {}
    for name, value in master.items():
        assert value.grad is not None
        assert value.grad.dtype == torch.float32
        found[name] = value.grad
    return found


def test_a_thousand_micro_batches_are_summed_in_fp32() -> None:
    torch.manual_seed(0)
    slopes = (1 + torch.randn(1024, 50)).bfloat16()
    weight = torch.nn.Parameter(torch.zeros(50, dtype=torch.bfloat16))
    masters = MasterWeights((1e-3, {"w": weight}))
    for slope in slopes:
        masters.backward((slope * weight).sum())
        assert weight.grad is None
    assert_near(gradient_of(masters.master), {"w": slopes.float().sum(0)}, 1e-6)
    masters.step(ACCELERATOR, 1e9)
    masters.backward((slopes[0] * weight).sum())  # the next sum begins anew
    assert_near(gradient_of(masters.master), {"w": slopes[0].float()}, 1e-6)


def test_the_gradient_of_many_micro_batches_is_that_of_one(tiny_model: Path) -> None:
    found = []
    for n in (2, COPIES):
        base = base16(tiny_model)
        add_random_adapter(base, ADAPTER, trainable=True)
        state = TrainState(MasterWeights((1e-3, base.parameters(ADAPTER))))
        rollout = copies(n)
        update(SUMS, base, rollout, rollout.mask, state, ACCELERATOR)
        found.append(gradient_of(state.policy.master))
    assert_near(found[1], found[0], 1e-5)


def test_the_gradient_of_a_value_adapter_is_summed_in_fp32(tiny_model: Path) -> None:
    found = []
    for n in (2, COPIES):
        network = ValueAdapter(SUMS, base16(tiny_model), seed=0)
        with torch.no_grad():
            network._head.weight[0, ::2] = 1.0  # so that the adapter below it has a gradient
        rollout = copies(n)
        network.fit(network.predict(rollout), rollout.mask, step=0, seed=0, accelerator=ACCELERATOR)
        found.append(gradient_of(network._master.master))
    assert_near(found[1], found[0], 1e-5)


@pytest.fixture
def before(tiny_model: Path, tmp_path: Path) -> Path:
    """An adapter as training writes it, with numbers that bfloat16 cannot hold."""
    base = load_shared_base(str(tiny_model), "float32", "cpu")
    add_random_adapter(base, "before")
    base.save_adapter("before", tmp_path / "before")
    return tmp_path / "before"


def test_training_begins_with_master_weights_as_they_are_in_the_file(tiny_model: Path, before: Path) -> None:
    base = base16(tiny_model)
    state = initial_state(CONFIG, base, seed=0, initial=before)
    for name, value in load_file(before / WEIGHTS).items():
        assert torch.equal(state.policy.master[name], value)
        assert torch.equal(base.parameters(ADAPTER)[name], value.bfloat16())


@pytest.mark.parametrize("trainer", ["native", "trl", "dpo"])
def test_training_that_hardly_moves_gives_back_the_adapter_unrounded(
    trainer: str, tiny_model: Path, before: Path, tmp_path: Path
) -> None:
    small = {"steps": 1, "learning_rate": 1e-12}
    config, base, after = CONFIG.model_copy(update=small), base16(tiny_model), tmp_path / "after"
    after.mkdir()
    if trainer == "dpo":
        train_dpo(
            test_train_dpo.CONFIG.model_copy(update=small), base, test_train_dpo.ROWS, after, seed=0, initial=before
        )
    else:
        train = train_policy if trainer == "native" else train_with_trl
        train(config, base, LowIds(), PROMPTS, after, seed=0, initial=before)
    for name, value in load_file(before / WEIGHTS).items():
        torch.testing.assert_close(load_file(after / WEIGHTS)[name], value, atol=1e-9, rtol=0)
