"""`rlhf plan`: what it says of a reward model that was trained, and where it cannot tell."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from foundation.errors import UserError
from foundation.files import read_json, write_json
from pipeline.inspection.plan import plan, show
from pipeline.runs.folder import Run
from reward_model.reward_folder import FIGURES
from tests.pipeline import tiny


def plant(run: Run, half: list[float], *, pairs: int, accuracy: float = 0.65, n: int = 12) -> None:
    """A reward model that learned from so many pairs, is right in this share of `n` others, and learns like this."""
    figures, manifest = run.folder / "reward" / FIGURES, run.folder / "manifest.json"
    write_json(figures, read_json(figures) | {"learning_curve": {"half": half, "pairs": pairs, "points": []}})
    text = read_json(manifest)
    known = {"accuracy": accuracy, "accuracy_low": accuracy - 0.15, "accuracy_high": accuracy + 0.15, "n": n}
    text["stages"]["reward"]["figures"] |= known
    write_json(manifest, text)


def test_more_labels_and_the_verdict_after_them(finished: Path, tiny_settings: list[str], tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    run, config, console = tiny.opened(tmp_path / "run", tiny_settings)
    plant(run, [300.0, *np.logspace(2, 3, 100)], pairs=60)
    found = plan(run, config)
    assert found["now"] == {"pairs": 72, "accuracy": [0.65, 0.5, 0.8]}
    accuracies = [each["accuracy"] for each in found["more"]]
    assert [each["pairs"] for each in found["more"]] == [times * found["now"]["pairs"] for times in (2, 4, 8)]
    assert 0.65 < accuracies[0][0] < accuracies[2][0] < found["ceiling"][0]
    assert [each["rate"] for each in found["verdict"]["expected"]] == [0.6, 0.65, 0.7, 0.8]
    show(found, console)
    printed = tiny.printed(console)
    for words in (
        "(now)",
        "without end",
        "Right in ",
        "4 held-out prompts",
        "if 70% of preferences are for the policy",
    ):
        assert words in printed
    show(found, console, as_json=True)
    assert json.loads(tiny.printed(console)[len(printed) :])["now"]["pairs"] == found["now"]["pairs"]


def test_what_an_accuracy_takes_is_told_to_two_digits_or_as_out_of_reach(
    finished: Path, tiny_settings: list[str], tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    run, config, console = tiny.opened(tmp_path / "run", tiny_settings)
    plant(run, [1234.0] * 101, pairs=800, accuracy=0.7, n=200)
    show(plan(run, config, 0.75), console)
    show(plan(run, config, 0.99), console)
    printed = tiny.printed(console)
    # Level 0.524 sqrt(1 + 1234 / 800) = 0.836; for 0.674, 1234 / (0.836^2 / 0.674^2 - 1) = 2297; more is judged.
    assert "Right in 75%: about 1,900 more pairs (95% interval " in printed
    assert "Right in 99%: out of reach of labels like these" in printed
    show(plan(run, config, 0.6), console)
    assert (
        "Right in 60%: reached already, as far as the held-out pairs tell (95% interval 0 to "
        in (tiny.printed(console)[len(printed) :])
    )
    with pytest.raises(UserError, match=r"--accuracy 0.4 is a share of pairs, above 0.5"):
        plan(run, config, 0.4)


@pytest.mark.parametrize("accuracy", [0.3, 0.47, 0.5])
def test_a_model_no_better_than_a_coin_is_asked_for_what_is_above_chance(
    accuracy: float, finished: Path, tiny_settings: list[str], tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    run, config, console = tiny.opened(tmp_path / "run", tiny_settings)
    plant(run, [300.0, *np.logspace(2, 3, 100)], pairs=60, accuracy=accuracy)
    found = plan(run, config)
    assert [each["accuracy"] for each in found["needed"]] == [0.55, 0.6, 0.65]
    show(found, console)


def test_it_says_what_is_missing(finished: Path, tiny_settings: list[str], tmp_path: Path) -> None:
    run, config, _ = tiny.opened(tmp_path / "empty", tiny_settings)
    with pytest.raises(UserError, match="has no reward model to plan by: rlhf reward --run"):
        plan(run, config)
    shutil.copytree(finished, tmp_path / "run")
    run, config, _ = tiny.opened(tmp_path / "run", tiny_settings)
    figures = run.folder / "reward" / FIGURES
    write_json(figures, read_json(figures) | {"learning_curve": {}})
    with pytest.raises(UserError, match="too few labels to tell what more would do"):
        plan(run, config)
