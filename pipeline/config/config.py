"""The whole pipeline's configuration: one frozen model that composes each stage's own.

What a field means stands beside the stage that uses it, and in `configs/example.yaml`. How it is read, and how
mistakes in it are told, is in `sources.py`.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from backbone.loading.settings import Quantization
from backbone.templates.plain_text import TemplateChoice
from foundation.errors import UserError
from foundation.settings import Settings
from foundation.sizes import SizesConfig
from labeling_ui.campaign import Campaign, CampaignSettings
from labeling_ui.notices.settings import NoticeSettings
from labeling_ui.web.proxy.addresses import address_elsewhere, address_here
from labeling_ui.web.proxy.sub_path import valid_sub_path
from pipeline.config import sources
from pipeline.config.collect import CollectConfig
from pipeline.config.evaluate import EvaluateConfig
from pipeline.config.export import ExportConfig
from pipeline.config.promotion import PromotionConfig
from pipeline.config.sampler import SamplerConfig
from pipeline.config.serve import ServeConfig
from pipeline.config.shipped_configs import found
from pipeline.config.verdict import VerdictConfig
from policy.alarms import JUDGE
from policy.config import OFFLINE, PolicyConfig
from reward_model.config import RewardConfig
from reward_model.rewards.registry import LEARNED, LEARNED_ONLY, RewardSpec


class LabelConfig(CampaignSettings):
    """The campaign: what annotators are asked, how their tasks are handed out, and where that is."""

    host: str = Field("127.0.0.1", description="address of this machine; 0.0.0.0 is all of them")
    port: int = Field(7860, ge=1, le=65535, description="TCP port")
    root_path: str = Field("", description="sub-path under which a proxy shows the app, as in /labels; empty for none")
    database: str | None = Field(
        None,
        description="PostgreSQL database that keeps the labels, as in postgresql://me@host/name; null: labels.db",
    )
    notices: NoticeSettings = NoticeSettings()

    @field_validator("database")
    @classmethod
    def _check_database(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("postgresql://", "postgres://", "postgresql+psycopg://")):
            raise ValueError("give a URL that begins with postgresql://, or leave it out")
        if url is not None and urlsplit(url).password:
            raise ValueError(
                "the run's config.yaml would keep the password: leave it out, and give it as PGPASSWORD or in ~/.pgpass"
            )
        return url

    @field_validator("root_path")
    @classmethod
    def _check_root_path(cls, path: str) -> str:
        return valid_sub_path(path)

    @property
    def served_at(self) -> str:
        """The address of the app: where other machines reach it, if it listens to them, or else this one."""
        place = self.host, self.port, self.root_path
        return address_elsewhere(*place) or address_here(*place)

    @property
    def campaign(self) -> Campaign:
        """The campaign alone, as the label store keeps it."""
        return Campaign.model_validate({name: getattr(self, name) for name in CampaignSettings.model_fields})

    def with_campaign(self, campaign: Campaign) -> "LabelConfig":
        """The same with the settings of this campaign."""
        return self.model_copy(update={name: getattr(campaign, name) for name in CampaignSettings.model_fields})


class Config(Settings):
    """Everything that decides what a run makes."""

    model: str = Field("demo", min_length=1, description='"demo", a folder, or a hub id')
    template: TemplateChoice = Field(
        "auto",
        description="chat (the model's own template), plain (it continues a text), or auto: plain if it has none",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="dtype of the frozen base; auto measures what is faster on this machine"
    )
    quantization: Quantization | None = Field(
        None, description="int8 or nf4 keeps the frozen base in 8 or 4 bits, by bitsandbytes (docs/scaling.md)"
    )
    device: str = Field("auto", min_length=1, description='"auto", "cpu", "cuda" or "cuda:1"')
    seed: int = Field(0, ge=0, lt=2**32, description="where all randomness of a run begins")
    sizes: SizesConfig = SizesConfig()
    collect: CollectConfig = CollectConfig()
    sampler: SamplerConfig = SamplerConfig()
    label: LabelConfig = LabelConfig()
    reward: RewardConfig = RewardConfig()
    policy: PolicyConfig = PolicyConfig()
    rewards: tuple[RewardSpec, ...] = Field(
        LEARNED_ONLY,
        min_length=1,
        description="what the policy is tuned towards: rewards by name, with weight and parameters (docs/rewards.md)",
    )
    evaluate: EvaluateConfig = EvaluateConfig()
    verdict: VerdictConfig = VerdictConfig()
    promotion: PromotionConfig = PromotionConfig()
    export: ExportConfig = ExportConfig()
    serve: ServeConfig = ServeConfig()

    @model_validator(mode="after")
    def _check_chooser(self) -> "Config":
        if self.collect.chooser != "random" and self.label.kind == "rating":
            raise ValueError(
                f"collect.chooser={self.collect.chooser} chooses pairs, and label.kind=rating shows single responses: "
                "leave the chooser at random"
            )
        return self

    @property
    def base(self) -> dict[str, Any]:
        """The model, its template, and how its weights are quantised, if they are."""
        quantised = {"quantization": self.quantization} if self.quantization else {}
        return {"model": self.model, "template": self.template, **quantised}

    def with_model(self, settings: Settings) -> dict[str, Any]:
        """What a stage's output depends on: its settings, the model and its dtype."""
        return {**self.base, "dtype": self.dtype, **settings.model_dump(mode="json")}

    def with_prompts(self, settings: Settings) -> dict[str, Any]:
        """As `with_model`, for stages that answer prompts: which prompts are too long is a setting as well."""
        return {**self.with_model(settings), "max_prompt_tokens": self.collect.max_prompt_tokens}

    def check_vllm(self) -> None:
        """Refuse vLLM with a quantised base."""
        if self.policy.vllm and self.quantization:
            raise UserError(
                "policy.vllm merges the adapter into the base at each step, which a quantised base cannot take. Leave "
                "out quantization or policy.vllm."
            )

    def check_sampler(self) -> None:
        """Refuse importance weights that a server's log-probabilities cannot give."""
        policy = self.policy
        if self.served_policy and policy.importance_cap is not None and policy.temperature != 1:
            raise UserError(
                f"policy.importance_cap={policy.importance_cap} weighs by the probabilities of sampling. The server "
                "of sampler.endpoint tells those of temperature 1, and policy.temperature is "
                f"{policy.temperature}. Set policy.temperature=1, or leave out policy.importance_cap."
            )

    @property
    def served_policy(self) -> bool:
        """Whether a server samples what the policy learns from."""
        return bool(self.sampler.endpoint) and self.policy.engine == "native" and not self.offline

    @property
    def of_policy(self) -> dict[str, Any]:
        """What the policy depends on of the settings. Which server samples is not among it; that one does, is."""
        settings = self.with_prompts(self.policy)
        del settings["accept_weak_reward"]  # whether it is made, not how
        if not self.policy.stop_on:
            settings["alarms"] = {"kl": self.policy.alarms.kl}  # a budget; the others tell, and change nothing
        if self.rewards != LEARNED_ONLY and not self.offline:
            settings["rewards"] = self.rewards_as_json
        return settings | ({"sampled_by": "a server"} if self.served_policy else {})

    @property
    def learned_reward(self) -> bool:
        """Whether a trained reward model is among the rewards."""
        return any(spec.name == LEARNED for spec in self.rewards)

    @property
    def tuning(self) -> PolicyConfig:
        """The policy's settings as they apply: without a reward model, no length is an accident of its labels.

        What a program pays for is meant, so lengths are then neither held nor a reason to stop. Nor is there a judge.
        """
        if self.learned_reward:
            return self.policy
        stop_on = tuple(name for name in self.policy.stop_on if name not in ("length", JUDGE))
        return self.policy.model_copy(update={"length_control": "none", "stop_on": stop_on})

    @property
    def offline(self) -> bool:
        """Whether the policy learns from the judgements directly, by DPO."""
        return self.policy.algorithm in OFFLINE

    @property
    def best_of_rewards(self) -> bool:
        """Whether the evaluation has a best-of-n that is chosen by other rewards than the learned one alone."""
        return self.evaluate.best_of_n > 1 and self.rewards != LEARNED_ONLY and not self.offline

    @property
    def rewards_as_json(self) -> list[dict[str, Any]]:
        """The rewards as a manifest keeps them."""
        return [spec.model_dump(mode="json") for spec in self.rewards]


def load_config(
    file: Path | None = None, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Config:
    """Read defaults, `file` (or the shipped one of that name), the environment and `overrides` (`policy.steps=200`).

    Later ones win.
    """
    return sources.load(Config, file and found(file), overrides, os.environ if environment is None else environment)


def load_run_config(file: Path | None, last_used: Path, overrides: Sequence[str]) -> Config:
    """As `load_config`, from the configuration that a run used last if no file is given.

    `model_fields_set` of its label settings has those alone that the file, the environment and the overrides name: no
    others are changed in a campaign that is there already.
    """
    config = load_config(file or (last_used if last_used.is_file() else None), overrides)
    named = given(file, overrides).get("label", {})
    label = LabelConfig.model_construct(_fields_set=set(named), **dict(config.label))
    return config.model_copy(update={"label": label})


def given(file: Path | None, overrides: Sequence[str]) -> dict[str, Any]:
    """What the file, the environment and the overrides say, nested, without any default."""
    return sources.given(Config, file and found(file), overrides, os.environ)


def origin_of(field: str, file: Path | None, last_used: Path, overrides: Sequence[str]) -> str | None:
    """Where `load_run_config` took the value of a field from, in the user's words; None if it is the default."""
    read = found(file) if file else last_used if last_used.is_file() else None
    return sources.origin(Config, read, overrides, os.environ, field.split("."))


def example() -> str:
    """The text of `configs/example.yaml`: every field at its default, with what it means."""
    head = (
        "# Every field with its default. Copy what you change; fields that are left out keep their default.\n"
        "# RLHF_POLICY__STEPS=200 in the environment and --set policy.steps=200 win over the file.\n"
        "# This file is written by: python -m pipeline.config.config > configs/example.yaml\n\n"
    )
    return f"{head}{sources.document(Config)}\n"


if __name__ == "__main__":
    print(example(), end="")
