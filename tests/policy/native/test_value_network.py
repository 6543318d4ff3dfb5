from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from backbone.adapters import SharedBase
from backbone.hidden_states import states_before
from policy.native import value_network
from policy.native.rollout import Rollout
from policy.native.value_network import ValueAdapter, ValueHead, ValueNetwork, build_value_network
from tests.policy.tiny_run import CONFIG, load_base
from tests.shared_base import add_random_adapter

PROMPTS = [[1, 5, 6], [1, 5, 6], [1, 9, 10, 11], [1, 9, 10, 11]]
RESPONSES = [[40, 41, 42], [50, 2], [60], [70, 71, 72, 2]]
MASK = torch.tensor([[1.0, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]])
RETURNS = torch.tensor([[1.0, 1, 1, 0], [2, 2, 0, 0], [3, 0, 0, 0], [4, 4, 4, 4]])
ROLLOUT = Rollout([0, 1, 2, 3], PROMPTS, RESPONSES, MASK * 0, MASK * 0, MASK, torch.zeros(4), torch.ones(4).bool(), {})
VALUES = CONFIG.model_copy(update={"group": 2, "micro_batch": 3, "value_learning_rate": 1e-2})


@pytest.fixture
def base(tiny_model: Path) -> SharedBase:
    base = load_base(tiny_model)
    add_random_adapter(base, "policy", trainable=True)
    return base


@pytest.fixture(params=["head", "adapter"])
def network(request: pytest.FixtureRequest, base: SharedBase) -> ValueNetwork:
    return build_value_network(VALUES.model_copy(update={"value_network": request.param}), base, seed=0)


def fit(network: ValueNetwork, times: int) -> torch.Tensor:
    for _ in range(times):
        network.fit(network.predict(ROLLOUT), RETURNS, step=0, seed=0, accelerator=Accelerator(cpu=True))
    return network.predict(ROLLOUT)


def test_a_new_network_expects_nothing(network: ValueNetwork) -> None:
    assert torch.equal(network.predict(ROLLOUT), torch.zeros_like(MASK))


def test_a_network_learns_what_the_returns_are(network: ValueNetwork) -> None:
    before = float(((network.predict(ROLLOUT) - RETURNS) * MASK).square().mean())
    values = fit(network, 25)
    assert torch.equal(values * (1 - MASK), torch.zeros_like(MASK))
    assert float(((values - RETURNS) * MASK).square().mean()) < before / 4


def test_a_network_goes_on_to_the_same_bits(network: ValueNetwork, base: SharedBase, tiny_model: Path) -> None:
    fit(network, 2)
    torch.save(network.state(), Path(tiny_model) / "value.pt")
    expected = fit(network, 2)
    other = load_base(tiny_model)
    add_random_adapter(other, "policy", trainable=True)
    kind = "head" if isinstance(network, ValueHead) else "adapter"
    again = build_value_network(VALUES.model_copy(update={"value_network": kind}), other, seed=9)
    again.restore(torch.load(Path(tiny_model) / "value.pt", weights_only=True))
    assert torch.equal(fit(again, 2), expected)


def test_learning_values_leaves_the_policy_as_it_is(network: ValueNetwork, base: SharedBase) -> None:
    before = {name: weight.detach().clone() for name, weight in base.parameters("policy").items()}
    fit(network, 3)
    base.check_trainable("policy")
    for name, weight in base.parameters("policy").items():
        assert torch.equal(weight, before[name])
        assert weight.grad is None


def test_the_head_is_the_solution_of_the_ridge_regression_over_both_steps(base: SharedBase) -> None:
    head = ValueHead(VALUES, base)
    with torch.no_grad(), base.using(None):
        states = states_before(base, PROMPTS, RESPONSES)
    centred = states - states.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() / states.shape[1] ** 0.5
    features = torch.cat([scaled, torch.ones(len(scaled), 1)], dim=1).double()
    returns = RETURNS[MASK.bool()].double()
    each = torch.repeat_interleave(torch.tensor([1 / 3, 1 / 2, 1, 1 / 4]), torch.tensor([3, 2, 1, 4])).double()
    # The second step as it is, the first as 4 responses of 32 ago; every response one, and a prior worth one response.
    weight = (1 + 0.8 ** (4 / 32)) * each
    left = features.T @ (features * weight[:, None]) + torch.diag(torch.tensor([1.0] * states.shape[1] + [1e-6]))
    solution = torch.linalg.solve(left, features.T @ (returns * weight))
    values = fit(head, 2)
    torch.testing.assert_close(values[MASK.bool()], (features @ solution).float(), atol=1e-4, rtol=1e-4)


def test_the_head_computes_the_base_once_a_step(base: SharedBase, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []

    def counting(base: SharedBase, prompt_ids: Sequence[Any], response_ids: Sequence[Any]) -> torch.Tensor:
        rows.extend(prompt_ids)
        return states_before(base, prompt_ids, response_ids)

    monkeypatch.setattr(value_network, "states_before", counting)
    head = ValueHead(VALUES.model_copy(update={"epochs": 3}), base)
    head.fit(head.predict(ROLLOUT), RETURNS, step=0, seed=0, accelerator=Accelerator(cpu=True))
    assert len(rows) == len(PROMPTS)


def test_the_head_reads_the_base_and_not_the_policy(base: SharedBase) -> None:
    head = ValueHead(VALUES, base)
    expected = fit(head, 1)
    with torch.no_grad():
        for weight in base.parameters("policy").values():
            weight.normal_()
    assert torch.equal(head.predict(ROLLOUT), expected)


def test_micro_batches_of_any_size_fit_the_same_values(base: SharedBase, tiny_model: Path) -> None:
    found = []
    for size in (1, 4):
        other = load_base(tiny_model)
        found.append(fit(ValueAdapter(VALUES.model_copy(update={"micro_batch": size}), other, seed=0), 2))
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-4)


def test_clipped_values_move_no_further_once_they_are_beyond(base: SharedBase) -> None:
    config = VALUES.model_copy(update={"epochs": 15, "value_clip": 0.1})
    values = fit(ValueAdapter(config, base, seed=0), 1)
    free = fit(ValueAdapter(config.model_copy(update={"value_clip": None}), _fresh(base), seed=0), 1)
    assert float((values * MASK).max()) < float((free * MASK).max()) / 2


def _fresh(base: SharedBase) -> SharedBase:
    other = load_base(Path(base.name))
    add_random_adapter(other, "policy", trainable=True)
    return other


@pytest.mark.parametrize("size", [1, 4, 32, 64])
def test_a_head_has_the_same_memory_whatever_the_size_of_a_step(base: SharedBase, size: int) -> None:
    head = ValueHead(VALUES, base)
    mask = torch.ones(size, 1)
    same = [[1, 5, 6]] * size, [[40]] * size
    rollout = Rollout([*range(size)], *same, mask, mask, mask, mask[:, 0], mask[:, 0] > 0, {})
    values = head.predict(rollout)
    for _ in range(640 // size):
        head.fit(values, mask, step=0, seed=0, accelerator=Accelerator(cpu=True))
    assert 140 <= float(head.state()["gram"][-1, -1]) <= 180  # responses
    assert float(head.predict(rollout)[0, 0]) == pytest.approx(1, abs=0.01)
    for _ in range(192 // size):  # the returns change: what was learned before is forgotten at the same rate
        head.fit(values, -mask, step=0, seed=0, accelerator=Accelerator(cpu=True))
    assert float(head.predict(rollout)[0, 0]) == pytest.approx(2 * 0.8**6 - 1, abs=0.05)
