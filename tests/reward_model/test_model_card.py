"""The card says what was measured, what was not, and where to be careful."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from reward_model.model_card import model_card

FIGURES: dict[str, Any] = {
    "accuracy": 0.7, "accuracy_low": 0.66, "accuracy_high": 0.74, "n": 400, "longer_wins": 0.5, "bag_of_words": 0.6,
    "ece": 0.09, "ece_after": 0.031, "temperature": 1.7, "training_pairs": 1400, "length_bias": None,
}  # fmt: skip


def card(**changes: Any) -> str:
    return model_card("a/base", None, FIGURES | changes, {"epochs": 1.0}, changes.get("simulated", 0))


def test_training_writes_the_card_with_its_figures(trained: tuple[Path, dict[str, Any]], tiny_model: Path) -> None:
    folder, figures = trained
    text = (folder / "README.md").read_text(encoding="utf-8")
    found = ModelCard(text)
    assert found.data.base_model is None  # the hub takes no paths
    assert str(tiny_model) in text
    assert found.data.library_name == "peft"
    (accuracy,) = found.data.eval_results
    assert accuracy.metric_value == pytest.approx(figures["accuracy"], abs=1e-6)
    for name in ("accuracy", "ece_after", "temperature", "error_most_uncertain", "length_controlled_accuracy"):
        assert name in figures
        assert f"| {figures[name]:.3f} |" in text
    assert "PeftModel.from_pretrained" in text
    assert "simulated" not in text


def test_what_was_not_measured_is_said_to_be_so() -> None:
    text = card()
    assert "| coverage of its 90% forecasts | not measured |" in text
    assert "people do | not measured |" in text


def test_a_model_that_beats_no_control_is_marked() -> None:
    assert "above both baselines" in card()
    assert "not shown to be better than a baseline" in card(accuracy_low=0.58)
    assert "(a bag of words" in card(accuracy_low=0.58)


def test_simulated_labels_are_called_so() -> None:
    assert "**1400 of the labels came from simulated annotators**" in card(simulated=1400)


def test_a_base_without_a_class_of_its_own_says_what_tools_take_instead() -> None:
    text = model_card("a/base", "model", FIGURES, {})
    assert "AutoModelForCausalLM" in text
    assert "reward_function(folder)" in text
    assert "reward_processing_classes" not in text


def test_a_name_cannot_break_out_of_its_place() -> None:
    text = model_card('evil"\n---\n`x', None, FIGURES, {"targets": "a|b<script>"})
    assert ModelCard(text).data.base_model is None
    assert "evil\" --- 'x" in text
    assert "a\\|b&lt;script>" in text
