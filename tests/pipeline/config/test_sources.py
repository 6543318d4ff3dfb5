from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from foundation.errors import UserError
from foundation.settings import Settings
from pipeline.config.sources import document, field_names, load, save


class Training(Settings):
    steps: int = Field(40, ge=1)
    learning_rate: float = 1e-4
    method: Literal["rloo", "reinforce"] = "rloo"


class Chosen(Settings):
    reason: Literal["off", "required"] | None = Field(None, description="why it was preferred")
    other: Literal["yes", "no"] = Field("yes", description="yes, no: what to do")
    shown: bool = True


class Whole(Settings):
    model: str = "demo"
    stop: tuple[str, ...] = ()
    policy: Training = Training()
    reward: Training = Training()
    parts: tuple[Training, ...] = Field((Training(),), min_length=1)


def read(file: Path | None = None, *overrides: str, **environment: str) -> Whole:
    return load(Whole, file, overrides, environment)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text("model: gpt\npolicy:\n  steps: 1\n  learning_rate: 1e-5\n")
    return path


def test_later_layers_win_and_leave_the_rest(file: Path) -> None:
    assert read() == Whole()
    assert read(file).policy == Training(steps=1, learning_rate=1e-5)
    both = read(file, RLHF_POLICY__STEPS="2", RLHF_MODEL="env")
    assert (both.model, both.policy) == ("env", Training(steps=2, learning_rate=1e-5))
    everything = read(file, "policy.steps=3", "policy.steps=4", RLHF_POLICY__STEPS="2")
    assert everything.policy == Training(steps=4, learning_rate=1e-5)


def test_values_are_yaml(file: Path) -> None:
    assert read(None, "policy.learning_rate=2e-4", "stop=[a, b]").stop == ("a", "b")
    assert read(None, RLHF_STOP="[c]").stop == ("c",)


def test_the_folder_of_models_is_no_field() -> None:
    assert read(RLHF_MODELS="/somewhere") == Whole()


def refused(file: Path | None = None, *overrides: str, **environment: str) -> str:
    with pytest.raises(UserError) as caught:
        read(file, *overrides, **environment)
    return str(caught.value)


def test_an_unknown_field_is_told_where_it_stands_and_what_is_near(file: Path) -> None:
    file.write_text("policy: {stpes: 3}")
    assert refused(file) == f'{file}: unknown field "policy.stpes". Did you mean policy.steps?'
    assert refused(None, "policy.stepz=3").startswith('--set policy.stepz: unknown field "policy.stepz". Did you mean')
    message = refused(None, RLHF_POLICY__STEP="3")
    assert message.startswith('environment variable RLHF_POLICY__STEP: unknown field "policy.step"')


def test_a_field_in_the_wrong_section_is_found() -> None:
    assert "Did you mean policy.learning_rate or reward.learning_rate?" in refused(None, "learning_rate=3")


def test_where_nothing_is_near_the_known_fields_are_listed() -> None:
    assert "Known here: policy.steps, policy.learning_rate, policy.method." in refused(None, "policy.zzz=3")
    assert "Known here: model, stop" in refused(None, "zzz=3")


def test_a_wrong_value_is_told_with_what_is_allowed(file: Path) -> None:
    assert refused(None, "policy.steps=many").startswith(
        '--set policy.steps: the field "policy.steps" is wrong: must be'
    )
    assert "must be greater than or equal to 1; found 0" in refused(None, "policy.steps=0")
    assert "must be 'rloo' or 'reinforce'; found 'ppo'" in refused(None, RLHF_POLICY__METHOD="ppo")
    assert '"stop"' in refused(None, "stop=[a, {b: c}]")


@pytest.mark.parametrize(
    ("field", "word", "choice"),
    [("reason", "off", "off"), ("reason", "No", "off"), ("reason", "'off'", "off"), ("other", "no", "no")],
)
def test_a_choice_that_yaml_reads_as_a_truth_value_is_taken_as_written(
    tmp_path: Path, field: str, word: str, choice: str
) -> None:
    (tmp_path / "mine.yaml").write_text(f"{field}: {word}\n")
    for found in (
        load(Chosen, tmp_path / "mine.yaml", (), {}),
        load(Chosen, None, [f"{field}={word}"], {}),
        load(Chosen, None, (), {f"RLHF_{field.upper()}": word}),
    ):
        assert getattr(found, field) == choice


def test_where_no_choice_is_meant_a_truth_value_stays_one() -> None:
    assert load(Chosen, None, ["shown=off", "other=on"], {}) == Chosen(shown=False, other="yes")
    with pytest.raises(UserError, match="must be 'off' or 'required'; found True"):
        load(Chosen, None, ["reason=on"], {})


def test_a_list_is_not_called_too_short_beside_a_wrong_member() -> None:
    message = refused(None, "parts=[{steps: 0}]")
    assert len(message.splitlines()) == 1
    assert "greater than or equal to 1" in message
    assert "at least 1 item" in refused(None, "parts=[]")


def test_the_example_names_what_may_be_chosen() -> None:
    assert "# why it was preferred (off or required)" in document(Chosen)
    assert "# yes, no: what to do\n" in document(Chosen)


def test_the_layer_that_was_wrong_is_named_though_another_is_right(file: Path) -> None:
    assert refused(file, "model=x", RLHF_POLICY__METHOD="ppo").startswith("environment variable RLHF_POLICY__METHOD:")


def test_several_mistakes_are_told_at_once() -> None:
    assert len(refused(None, "policy.steps=0", "zzz=3").splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [("policy: [", "line 1: not valid YAML"), ("- a\n- b", "found list"), ("policy: 3", '"policy" is wrong')],
)
def test_a_file_that_is_no_configuration_is_refused(file: Path, text: str, told: str) -> None:
    file.write_text(text)
    assert told in refused(file)


def test_a_missing_file_and_a_broken_override_are_refused(tmp_path: Path, file: Path) -> None:
    assert "No such file" in refused(tmp_path / "none.yaml")
    file.write_bytes(b"model: \xff")
    assert "not UTF-8" in refused(file)
    assert "--set policy.steps: expected a field" in refused(None, "policy.steps")
    assert "already given a value" in refused(None, "policy=3", "policy.steps=3")
    assert "not valid YAML" in refused(None, "model=[")


def test_what_is_saved_reads_back_the_same(tmp_path: Path) -> None:
    config = Whole(model="müll", stop=("a",), policy=Training(learning_rate=3e-5))
    save(config, tmp_path / "run" / "config.yaml")
    assert read(tmp_path / "run" / "config.yaml") == config


def test_field_names_reach_into_sections() -> None:
    assert field_names(Whole)[:3] == ["model", "stop", "policy.steps"]
