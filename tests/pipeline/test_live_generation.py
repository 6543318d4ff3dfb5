"""The process that writes fresh responses, with a tiny model."""

import multiprocessing
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from backbone.sampling import sample
from backbone.sampling_config import SamplingConfig
from foundation.errors import UserError
from labeling_ui.data_model import Message
from pipeline.live_generation import LivePolicy
from tests.shared_base import add_random_adapter, load

SAMPLING = SamplingConfig(max_new_tokens=24, temperature=1.0)
ASKED = [Message(role="user", content="the cat")]


class Newest:
    """Where the newest adapter is: changed by the tests."""

    path: Path | None = None

    def __call__(self) -> Path | None:
        return self.path


@pytest.fixture(scope="module")
def newest() -> Newest:
    return Newest()


@pytest.fixture(scope="module")
def policy(tiny_model: Path, newest: Newest) -> Iterator[LivePolicy]:
    policy = LivePolicy(str(tiny_model), SAMPLING, newest, "float32", "cpu")
    yield policy
    policy.close()


@pytest.fixture
def adapter(tiny_model: Path, tmp_path: Path) -> Path:
    base = load(tiny_model)
    add_random_adapter(base, "policy")
    base.save_adapter("policy", tmp_path / "policy")
    return tmp_path / "policy"


def expected(tiny_model: Path, adapter: Path | None, seed: int) -> tuple[str, ...]:
    base = load(tiny_model)
    if adapter:
        base.load_adapter("policy", adapter)
    with torch.no_grad(), base.using("policy" if adapter else None):
        drawn = sample(base, [base.renderer.prompt_ids(ASKED)], SAMPLING, group=2, seed=seed)
    return tuple(base.renderer.text(one.response_ids).rstrip("\ufffd") for one in drawn)


def test_two_samples_grow_to_what_sampling_makes(policy: LivePolicy, tiny_model: Path) -> None:
    seen = list(policy(ASKED, 5))
    assert seen[-1] == expected(tiny_model, None, 5)
    assert seen[-1][0] != seen[-1][1]
    assert len(seen) > 1
    assert all(seen[-1][n].startswith(pair[n][:-1]) for pair in seen for n in (0, 1))
    assert policy.source["adapter"] is None


def test_a_newer_adapter_is_taken_at_the_next_prompt(
    policy: LivePolicy, newest: Newest, tiny_model: Path, adapter: Path
) -> None:
    newest.path = adapter
    assert list(policy(ASKED, 5))[-1] == expected(tiny_model, adapter, 5) != expected(tiny_model, None, 5)
    assert policy.source["adapter"] == f"{adapter.parent.name}/policy"


def test_an_adapter_that_was_made_anew_in_the_same_round_is_taken_at_the_next_prompt(
    policy: LivePolicy, newest: Newest, tiny_model: Path, adapter: Path
) -> None:
    newest.path = adapter
    before = list(policy(ASKED, 5))[-1]
    shutil.move(adapter, adapter.with_name("superseded"))
    base = load(tiny_model)
    add_random_adapter(base, "policy", seed=2)
    base.save_adapter("policy", adapter)
    assert list(policy(ASKED, 5))[-1] == expected(tiny_model, adapter, 5) != before


def test_one_who_goes_away_stops_the_writing_and_the_next_is_answered(
    policy: LivePolicy, newest: Newest, tiny_model: Path
) -> None:
    newest.path = None
    for seed in range(3):
        stream = policy(ASKED, seed)
        next(stream)
        stream.close()  # type: ignore[attr-defined]
    assert list(policy(ASKED, 9))[-1] == expected(tiny_model, None, 9)


def test_a_prompt_that_does_not_fit_is_refused_and_the_process_lives_on(policy: LivePolicy, newest: Newest) -> None:
    newest.path = None
    with pytest.raises(UserError, match="tokens long"):
        list(policy([Message(role="user", content="cat " * 2000)], 1))
    assert list(policy(ASKED, 1))


def test_a_process_that_died_is_told_and_replaced(policy: LivePolicy, newest: Newest) -> None:
    newest.path = None
    next(iter(policy(ASKED, 1)))
    (child,) = [one for one in multiprocessing.active_children() if one.name == "live policy"]
    assert os.getpriority(os.PRIO_PROCESS, child.pid or 0) > os.getpriority(os.PRIO_PROCESS, 0)
    child.kill()
    child.join()
    with pytest.raises(UserError, match=r"ended.*Ask again"):
        list(policy(ASKED, 1))
    assert list(policy(ASKED, 1))
