"""The whole pipeline's configuration: one frozen model that composes each stage's own.

What a field means stands beside the stage that uses it, and in `configs/example.yaml`. How it is read, and how
mistakes in it are told, is in `layers.py`.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from rlhf_pipeline.pipeline import layers
from rlhf_pipeline.pipeline.collect import CollectConfig
from rlhf_pipeline.pipeline.evaluate import EvaluateConfig
from rlhf_pipeline.policy.export import ExportConfig
from rlhf_pipeline.policy.train import PolicyConfig
from rlhf_pipeline.reward_model.train import RewardConfig
from rlhf_pipeline.settings import Settings


class LabelConfig(Settings):
    """How pairs are put before annotators."""

    overlap: int = Field(1, ge=1, description="annotators who judge each pair")
    host: str = Field("127.0.0.1", description="address of this machine; 0.0.0.0 is all of them")
    port: int = Field(7860, ge=1, le=65535, description="TCP port")


class Config(Settings):
    """Everything that decides what a run makes."""

    model: str = Field("demo", min_length=1, description='"demo", a folder, or a hub id')
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="number format of the frozen base; auto measures what is faster on this machine"
    )
    device: str = Field("auto", min_length=1, description='"auto", "cpu", "cuda" or "cuda:1"')
    seed: int = Field(0, ge=0, lt=2**32, description="where all randomness of a run begins")
    collect: CollectConfig = CollectConfig()
    label: LabelConfig = LabelConfig()
    reward: RewardConfig = RewardConfig()
    policy: PolicyConfig = PolicyConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    export: ExportConfig = ExportConfig()


def load_config(
    file: Path | None = None, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Config:
    """Read defaults, `file`, the environment and `overrides` (`policy.steps=200`), later ones winning."""
    return layers.load(Config, file, overrides, os.environ if environment is None else environment)


def example() -> str:
    """The text of `configs/example.yaml`: every field at its default, with what it means."""
    head = (
        "# Every field with its default. Copy what you change; fields that are left out keep their default.\n"
        "# RLHF_POLICY__STEPS=200 in the environment and --set policy.steps=200 win over the file.\n"
        "# This file is written by: python -m rlhf_pipeline.pipeline.config > configs/example.yaml\n\n"
    )
    return f"{head}{layers.document(Config)}\n"


if __name__ == "__main__":
    print(example(), end="")
