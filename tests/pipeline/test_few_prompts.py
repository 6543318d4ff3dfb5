"""A few prompts go all the way to an adapter, or are refused before anything is sampled."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from backbone.sampling import Sample
from foundation.files import write_jsonl
from pipeline.cli.commands import app
from pipeline.sampling import drawing
from tests.pipeline import tiny
from tests.pipeline.bad_input.refusing import refused

STEP = ["policy.prompts_per_step=2", "policy.steps=1"]


def few(path: Path, *splits: str | None, text: str = "tell me of the {}") -> Path:
    rows = [{"prompt": tiny.ask(text.format(topic))} for topic in tiny.TOPICS[: len(splits)]]
    write_jsonl(path, [row | ({"split": split} if split else {}) for row, split in zip(rows, splits, strict=True)])
    return path


def command(name: str, run: Path, settings: list[str], *options: str) -> str:
    set_ = [part for each in settings for part in ("--set", each)]
    result = CliRunner().invoke(app, [name, "--run", str(run), *options, *set_])
    assert result.exit_code == 0, (result.output, result.exception)
    return " ".join(result.output.split())


@pytest.mark.parametrize("splits", [(None,) * 5, ("train",) * 4 + ("held_out",)], ids=["hash", "given"])
def test_five_prompts_end_with_an_adapter(
    tiny_settings: list[str], tmp_path: Path, splits: tuple[str | None, ...]
) -> None:
    file, run = few(tmp_path / "five.jsonl", *splits), tmp_path / "run"
    shown = command("loop", run, [*tiny_settings, *STEP, f"collect.prompts={file}"], "--simulate")
    assert "policy beats base" in shown
    assert (run / "round-000" / "export" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize(
    ("splits", "overrides", "told"),
    [
        (("train", "train", "train"), [], "holds no prompt to evaluate on"),
        (("train", "held_out"), ["policy.prompts_per_step=1"], "only one would be asked"),
        (
            ("train", "train", "train", "held_out"),
            ["policy.prompts_per_step=8"],
            "there are only 3 prompts to train on",
        ),
        (
            ("train",) * 3 + ("held_out",),
            ["evaluate.sampling.max_new_tokens=250"],
            "no held_out prompt is short enough",
        ),
        (("train",) * 3 + ("held_out",), ["policy.max_new_tokens=250"], "there are only 0 prompts to train on"),
        (("train",) * 3 + ("held_out",), ["collect.limit=1"], "raise collect.limit"),
    ],
)
def test_prompts_that_a_later_stage_would_refuse_are_refused_before_anything_is_sampled(
    tiny_settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, splits: tuple[str, ...],
    overrides: list[str], told: str,
) -> None:  # fmt: skip
    def sample(*_: Any, **__: Any) -> Any:
        raise AssertionError("something is sampled")

    monkeypatch.setattr(drawing, "sample", sample)
    file = few(tmp_path / "few.jsonl", *splits)
    settings = [*tiny_settings, *STEP, f"collect.prompts={file}", *overrides]
    assert told in refused("collect", "--run", tmp_path / "run", overrides=settings)


def test_a_loop_without_people_is_refused_before_it_tunes_what_it_cannot_evaluate(
    tiny_settings: list[str], tmp_path: Path
) -> None:
    file = few(tmp_path / "few.jsonl", "train", "train", "held_out")
    settings = [*tiny_settings, *STEP, f"collect.prompts={file}", "evaluate.sampling.max_new_tokens=250"]
    settings.append('rewards=[{"name": "length", "target": 3, "unit": "tokens"}]')
    assert "no held_out prompt is short enough" in refused("loop", "--run", tmp_path / "run", overrides=settings)
    assert not (tmp_path / "run" / "round-000" / "policy").exists()


@pytest.mark.parametrize(("alike", "of"), [(2, 3), (3, 3)])
def test_prompts_whose_responses_are_all_the_same_are_counted(
    tiny_settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alike: int, of: int
) -> None:
    def sample(base: Any, prompts: Any, *_: Any, group: int, **__: Any) -> list[Sample]:
        return [
            Sample(place, [9 + (number if place >= alike else 0), 2], [0.0, 0.0], "stop")
            for place in range(len(prompts))
            for number in range(group)
        ]

    monkeypatch.setattr(drawing, "sample", sample)
    file = few(tmp_path / "few.jsonl", *("train",) * of, "held_out")
    settings = [*tiny_settings, *STEP, f"collect.prompts={file}"]
    told = f"every response to {alike} of {of} prompts is the same, or empty"
    if alike < of:
        assert told in command("collect", tmp_path / "run", settings)
    else:
        assert "there is nothing to judge. Raise" in refused("collect", "--run", tmp_path / "run", overrides=settings)
