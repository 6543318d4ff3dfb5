"""What the estimate of each stage's memory counts."""

from pathlib import Path

import pytest

from backbone.merging import layers_of
from pipeline.config.config import load_config
from pipeline.preflight import checks, memory
from tests.shared_base import add_random_adapter, load

BIG = [
    "policy.max_new_tokens=200",
    "policy.group=64",
    "policy.micro_batch=1",
    "sizes.logit_mib=1",
    "sizes.sample_rows=256",
]


@pytest.mark.parametrize(
    ("settings", "counted"),
    [
        ([], True),
        (["policy.engine=trl"], False),
        (["sampler.endpoint=http://127.0.0.1:1/v1", "sampler.model=base"], False),
        (["quantization=int8"], False),
    ],
)
def test_layers_that_are_merged_for_sampling_count_twice(
    settings: list[str], counted: bool, tiny_model: Path, tiny_settings: list[str]
) -> None:
    base, found = load(tiny_model), checks.Findings()
    config, merging = (
        load_config(None, [*tiny_settings, *BIG, *settings, f"policy.merge_for_sampling={merge}"], {})
        for merge in ("false", "true")
    )
    checks._check_layers(config, base, found)
    add_random_adapter(base, "policy")
    copied = sum(layer.get_base_layer().weight.nbytes for layer in layers_of(base.base, "policy"))
    base.remove_adapter("policy")
    before, after = (memory.estimate(each, base.base, found.adapters, 32, found.carrying) for each in (config, merging))
    assert after["policy"] - before["policy"] == (copied if counted else 0)
    assert {stage for stage in before if before[stage] != after[stage]} == ({"policy"} if counted else set())
