"""What the terminal and the report say of a reward model."""

from typing import Any

from foundation.files import read_json
from pipeline.reporting.data import RewardFigures
from pipeline.runs.folder import Run


def reward_line(run: Run, figures: dict[str, Any]) -> str:
    """The reward model's accuracy beside its baselines, in one line; how good a held-out judge there is, if any."""
    judge, more, head = "", "", ""
    if "head_n" in figures:
        head = (
            f" On {figures['head_n']} labels, each pair judged by a head on the frozen base that was fitted on "
            f"other conversations: {figures['head_accuracy']:.1%} ({figures['head_low']:.1%} to "
            f"{figures['head_high']:.1%}); length alone {figures['head_length']:.1%}, bag of words "
            f"{figures['head_words']:.1%}."
        )
    if "doubled" in figures:
        about, low, high = figures["doubled"]
        plan = f"`rlhf plan --run {run.argument}`"
        more = f" Twice the labels would make it about {about:.0%} ({low:.0%} to {high:.0%}): {plan}."
    if "judge_accuracy" in figures:
        used = "" if figures["judge_accuracy_low"] > 0.5 else ": not used"
        judge = f" Held-out judge: {figures['judge_accuracy']:.1%} right on {figures['judge_n']} other pairs{used}."
    return (
        f"reward: {figures['accuracy']:.1%} right on {figures['n']} held-out pairs (95% interval "
        f"{figures['accuracy_low']:.1%} to {figures['accuracy_high']:.1%}); longer wins {figures['longer_wins']:.1%}, "
        f"bag of words {figures['bag_of_words']:.1%}.{_taken(figures)}{head}{judge}{more}"
    )


def _taken(figures: dict[str, Any]) -> str:
    """Which of the two that were learned it is, and why."""
    if "probe_likelihood" not in figures:
        return ""
    if "adapter_likelihood" not in figures:
        return " It is a probe of the base; no adapter was trained."
    taken = figures["reward_model"]
    other = "probe" if taken == "adapter" else "adapter"
    return (
        f" It is the {taken}: held-out labels are likelier under it, {figures[f'{taken}_likelihood']:.3f} nats a pair, "
        f"than under the {other}, {figures[f'{other}_likelihood']:.3f} ({figures[f'{other}_accuracy']:.1%} right)."
    )


def reward_figures(run: Run) -> RewardFigures | None:
    """The reward model of the round, on pairs that it has not seen; None if there is none."""
    record = run.record("reward")
    if record is None:
        return None
    saved = read_json(run.folder / "reward" / "reward.json")
    names = ("accuracy", "accuracy_low", "accuracy_high", "n", "longer_wins", "bag_of_words", "ece")
    later = ("length_controlled_accuracy", "ece_after", "temperature", "error_most_uncertain", "error_least_uncertain")
    head = ("head_accuracy", "head_low", "head_high", "head_n")
    bins = ("reliability", "reliability_after")
    return RewardFigures(
        **{name: record.figures[name] for name in names},
        **{name: record.figures.get(name) for name in (*later, *head)},  # what older reward models lack
        **{name: tuple(tuple(each) for each in saved.get(name, ())) for name in bins},
    )
