"""A test that fails by what was drawn fails again: its draws depend on its name alone."""

import os
import random
import secrets

import hypothesis
import pytest
import torch


@pytest.fixture(scope="module")
def made() -> str:
    return secrets.token_hex(4)


def test_what_is_drawn_without_a_seed_follows_from_the_tests_name(made: str, request: pytest.FixtureRequest) -> None:
    again = random.Random(request.node.nodeid)
    assert made == again.randbytes(4).hex(), "what a test is given is drawn within it"
    assert secrets.token_hex() == again.randbytes(32).hex()
    assert secrets.randbelow(1000) == again.randrange(1000)
    assert random.random() == random.Random(request.node.nodeid).random()
    assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(0)))


def test_examples_are_the_same_in_continuous_integration_and_never_have_a_deadline() -> None:
    now = hypothesis.settings()
    assert now.deadline is None
    assert now.derandomize == bool(os.environ.get("CI"))
