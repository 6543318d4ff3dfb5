import math

import pytest
import torch

from policy.textbook.networks import PolicyNetwork, ValueNetwork

TOKENS = torch.tensor([[3, 1, 2], [3, 1, 0], [1, 3, 2], [0, 0, 0]])
WRITTEN = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])


def spoken(network: torch.nn.Module) -> torch.nn.Module:
    """The network with an output layer that is no longer zero."""
    torch.nn.init.normal_(network.output.weight, generator=torch.Generator().manual_seed(1))  # type: ignore[union-attr, arg-type]
    return network


def test_a_new_policy_is_uniform_and_a_new_value_zero() -> None:
    logits = PolicyNetwork(5, 3, seed=2)(TOKENS, WRITTEN)
    assert torch.log_softmax(logits, -1).tolist() == [pytest.approx([-math.log(5)] * 5)] * 4
    assert ValueNetwork(5, 3, seed=2)(TOKENS, WRITTEN).tolist() == [0.0] * 4


@pytest.mark.parametrize("network", [PolicyNetwork(5, 3, seed=2), ValueNetwork(5, 3, seed=2)])
def test_what_is_not_written_is_not_seen_and_order_matters(network: torch.nn.Module) -> None:
    spoken(network)
    said = network(TOKENS, WRITTEN)
    other = TOKENS.clone()
    other[1, 2] = 4
    other[3] = 2
    assert torch.equal(network(other, WRITTEN), said)
    for a, b in [(0, 1), (0, 2), (1, 3)]:
        assert not torch.allclose(said[a], said[b])


def test_states_may_be_stacked_in_any_shape() -> None:
    network = spoken(PolicyNetwork(5, 3, seed=2))
    flat = network(TOKENS, WRITTEN)
    torch.testing.assert_close(network(TOKENS.view(2, 2, 3), WRITTEN.view(2, 2, 3)), flat.view(2, 2, 5))


def test_the_seed_decides_the_first_weights() -> None:
    before = torch.get_rng_state()
    first, again, other = (PolicyNetwork(5, 3, seed=seed).hidden.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
