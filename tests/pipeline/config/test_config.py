import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from foundation.errors import UserError
from foundation.settings import choices
from pipeline.config.config import Config, example, load_config
from pipeline.config.sources import field_names, flat

CONFIGS = Path(__file__).parents[3] / "configs"


def test_the_example_documents_every_field_at_its_default() -> None:
    remedy = "write it anew: python -m pipeline.config.config > configs/example.yaml"
    assert (CONFIGS / "example.yaml").read_text(encoding="utf-8") == example(), remedy
    assert load_config(CONFIGS / "example.yaml", environment={}) == Config()


def test_every_field_of_the_example_stands_under_a_comment() -> None:
    lines = [line.strip() for line in example().splitlines() if line.strip()]
    fields = [index for index, line in enumerate(lines) if not line.startswith(("#", "- "))]
    assert len(fields) >= len(field_names(Config))
    undocumented = [lines[index] for index in fields if not lines[index - 1].startswith("# ")]
    assert undocumented == []


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_configuration_that_is_shipped_loads(path: Path) -> None:
    config = load_config(path, environment={})
    assert config.model_dump(mode="json") == Config.model_validate(config.model_dump()).model_dump(mode="json")
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().seed = 3  # type: ignore[misc]


def test_layers_reach_every_stage() -> None:
    config = load_config(None, ["policy.steps=3"], {"RLHF_REWARD__LORA_RANK": "4", "RLHF_SEED": "9"})
    assert (config.policy.steps, config.reward.lora_rank, config.seed) == (3, 4, 9)


def test_a_mistyped_field_is_told_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r'unknown field "policy\.stepz"\. Did you mean policy\.steps\?'):
        load_config(None, ["policy.stepz=3"], {})


def _choices(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _choices(field.annotation, f"{prefix}{name}.")
        elif known := choices(field.annotation):
            yield f"{prefix}{name}", known


def test_every_choice_is_in_the_example_and_is_taken_as_it_is_written() -> None:
    found = dict(_choices(Config))
    assert {"label.rationale", "policy.tracker", "reward.tracker", "collect.chooser", "dtype"} <= found.keys()
    lines = [line.strip() for line in example().splitlines()]
    for name, known in found.items():
        section, _, field = name.rpartition(".")
        start = lines.index(f"{section}:") if section else 0
        at = next(place for place in range(start, len(lines)) if lines[place].startswith(f"{field}:"))
        above = next(place for place in range(at - 1, 0, -1) if not lines[place].startswith("#"))
        assert set(known) <= set(re.findall(r"[\w-]+", " ".join(lines[above + 1 : at]))), name
        for choice in known:
            config = load_config(None, [f"{name}={choice}"], {}).model_dump(mode="json")
            assert flat(config)[name] == choice


def test_an_unknown_reward_is_the_only_mistake_that_is_told() -> None:
    with pytest.raises(UserError) as caught:
        load_config(None, ["rewards=[{name: blue}]"], {})
    assert "at least 1 item" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_lengths_are_held_only_where_a_reward_model_pays() -> None:
    assert load_config(environment={}).tuning.length_control == "band"
    programmed = load_config(overrides=["rewards=[{name: length, high: 20}]"], environment={}).tuning
    assert (programmed.length_control, programmed.stop_on) == ("none", ("kl",))
