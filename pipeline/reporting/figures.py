"""The figures of a run, read from manifests, logs and labels, for the report, summary.json and the terminal."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from backbone.loading.model_name import resolve_model
from backbone.templates.plain_text import saved_choice
from foundation.files import Row, read_json, read_rows
from labeling_ui.store.store import Store
from pipeline.config.config import Config
from pipeline.reporting.report import (
    AlarmFigures,
    AnnotatorFigures,
    Comparison,
    EvaluationFigures,
    LabelFigures,
    Measure,
    Rate,
    ReportData,
    RewardFigures,
    RoundFigures,
    StageRow,
)
from pipeline.runs.folder import Run
from policy.alarms import RULES, alarm_spans
from policy.model_card import load_snippet
from policy.training_log import LOG

_MEASURES = {
    "words": "words per response",
    "finish_rate": "responses that end their turn, share",
    "distinct_1": "distinct-1",
    "distinct_2": "distinct-2",
}


def summarise(run: Run) -> dict[str, Any] | None:
    """The content of summary.json for the run at this round; None before the evaluation."""
    evaluated = run.record("evaluate")
    if evaluated is None:
        return None
    figures = evaluated.figures
    seconds = sum(record.seconds for number in run.rounds() for record in run.at(number).manifest().stages.values())
    exported = run.folder / "export"
    return {
        "seconds": round(seconds, 1),
        "win_rate": figures["win_rate"],
        "win_rate_low": figures["low"],
        "win_rate_high": figures["high"],
        "judge": figures["judge"],
        "mean_kl": figures["mean_kl"],
        "distinct2_ratio": figures["distinct2_ratio"],
        "adapter": str(exported if exported.is_dir() else run.folder / "policy"),
        "report": str(run.path / "report.html"),
    }


def table(run: Run, figures: dict[str, Any]) -> Table:
    """The figures as a table for the terminal."""
    drawn = Table(title=f"{run.name}, round {run.round}", title_justify="left", show_header=False)
    rate = f"{figures['win_rate']:.1%} (95% interval {figures['win_rate_low']:.1%} to {figures['win_rate_high']:.1%})"
    drawn.add_row(f"policy beats base, judged by the {figures['judge']}", rate)
    drawn.add_row("KL from the base, nats per response", f"{figures['mean_kl']:.2f}")
    drawn.add_row("distinct-2, ratio to the base", f"{figures['distinct2_ratio']:.2f}")
    reward = run.record("reward")
    if reward:
        drawn.add_row("reward model, held-out accuracy", f"{reward.figures['accuracy']:.1%}")
    drawn.add_row("seconds, all stages", f"{figures['seconds']:.0f}")
    drawn.add_row("adapter", figures["adapter"])
    return drawn


def snippet(run: Run, config: Config) -> str:
    """What loads the exported adapter."""
    return f"\n{_load_snippet(run, config)}\n"


def reward_line(figures: dict[str, Any]) -> str:
    """The reward model's accuracy beside its baselines, in one line."""
    return (
        f"reward: {figures['accuracy']:.1%} right on {figures['n']} held-out pairs (95% interval "
        f"{figures['accuracy_low']:.1%} to {figures['accuracy_high']:.1%}); longer wins {figures['longer_wins']:.1%}, "
        f"bag of words {figures['bag_of_words']:.1%}."
    )


def report_data(run: Run, config: Config, store: Store, told: Sequence[str] = ()) -> ReportData:
    """Everything that the report shows of the run, at this round; `told` before all figures."""
    exported, training = run.folder / "export", _training(run)
    return ReportData(
        run=run.name,
        model=config.model,
        created_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        rounds=tuple(_round(run.at(number)) for number in run.rounds()),
        labels=_labels(run, store),
        reward=_reward(run),
        training=tuple(_numbers(row) for row in training),
        alarms=tuple(
            AlarmFigures(name=name, first=first, last=last, figure=RULES[name].figure, advice=RULES[name].advice)
            for name, first, last in alarm_spans(training)
            if name in RULES
        ),
        evaluation=_evaluation(run),
        told=tuple(told),
        manifest=tuple(
            StageRow(stage=record.name, output=record.output, seconds=record.seconds, finished_at=record.finished,
                     sha256=record.output_sha256)
            for record in run.manifest().stages.values()
        ),
        adapter=str(exported) if exported.is_dir() else "",
        load_snippet=_load_snippet(run, config) if exported.is_dir() else "",
    )  # fmt: skip


def _round(run: Run) -> RoundFigures:
    labels, reward, evaluated = (run.record(name) for name in ("preferences", "reward", "evaluate"))
    found = evaluated.figures if evaluated else {}
    return RoundFigures(
        round=run.round,
        judgements=labels.figures["judgements"] if labels else None,
        pairs=labels.figures["pairs"] if labels else None,
        reward_accuracy=reward.figures["accuracy"] if reward else None,
        win_rate=found.get("win_rate"),
        win_rate_low=found.get("low"),
        win_rate_high=found.get("high"),
        mean_kl=found.get("mean_kl"),
    )


def _labels(run: Run, store: Store) -> LabelFigures | None:
    counts = store.counts()
    if not counts.tasks:
        return None
    from labeling_ui.quality import assessment

    made, agreed = run.record("preferences"), assessment.agreement(store)
    return LabelFigures(
        prompts=counts.prompts,
        tasks=counts.tasks,
        judgements=counts.judgements,
        simulated_judgements=counts.simulated_judgements,
        by_verdict=counts.by_verdict,
        pairs=made.figures["pairs"] if made else None,
        alpha=agreed.alpha,
        alpha_low=agreed.low,
        alpha_high=agreed.high,
        annotators=tuple(
            AnnotatorFigures(
                name=each.annotator.name, simulated=each.annotator.simulated, judgements=each.judgements,
                left_share=each.left.value, left_p_value=each.doubts.get("side"), gold=each.gold.value,
                weight=each.weight,
                skill=each.skill.accuracy if each.skill else None, skill_low=each.skill.low if each.skill else None,
                skill_high=each.skill.high if each.skill else None,
            )
            for each in assessment.annotators(store)
        ),
        label_set_hash=store.label_set_hash(),
    )  # fmt: skip


def _reward(run: Run) -> RewardFigures | None:
    record = run.record("reward")
    if record is None:
        return None
    saved = read_json(run.folder / "reward" / "reward.json")
    names = ("accuracy", "accuracy_low", "accuracy_high", "n", "longer_wins", "bag_of_words", "ece")
    later = ("length_controlled_accuracy", "ece_after", "temperature", "error_most_uncertain", "error_least_uncertain")
    bins = ("reliability", "reliability_after")
    return RewardFigures(
        **{name: record.figures[name] for name in names},
        **{name: record.figures.get(name) for name in later},  # what older reward models lack
        **{name: tuple(tuple(each) for each in saved.get(name, ())) for name in bins},
    )


def _training(run: Run) -> list[Row]:
    path = run.folder / "policy" / LOG
    return read_rows(path) if path.is_file() else []


def _numbers(row: Row) -> Row:
    return {name: value for name, value in row.items() if value is None or isinstance(value, int | float)}


def _evaluation(run: Run) -> EvaluationFigures | None:
    path = run.folder / "evaluation.json"
    if run.record("evaluate") is None or not path.is_file():
        return None
    found = read_json(path)
    opponents = {mode: found[mode]["win_rates"] for mode in ("sampled", "greedy")}
    if best := found["sampled"].get("best_of_n"):
        opponents[f"sampled, against the best of {best['n']} of the base's"] = best["win_rates"]
    rates = tuple(
        Rate(name=f"{title}, by the {judge}", value=rate["win_rate"], low=rate["low"], high=rate["high"], n=rate["n"],
             simulated=judge.startswith("simulated"))
        for title, judged in opponents.items()
        for judge, rate in judged.items()
    )  # fmt: skip
    measured = found["sampled"]["measures"]
    pairs = [_comparison(pair) for pair in found["sampled"]["pairs"]]
    return EvaluationFigures(
        win_rates=rates,
        mean_kl=found["mean_kl"],
        measures=tuple(
            Measure(name=title, base=measured["base"][name], policy=measured["policy"][name])
            for name, title in _MEASURES.items()
        ),
        best=tuple(pairs[: found["shown"]]),
        worst=tuple(reversed(pairs[len(pairs) - found["shown"] :])),
    )


def _comparison(pair: Row) -> Comparison:
    scores = next(iter(pair["scores"].values()))
    return Comparison(
        prompt="\n\n".join(message["content"] for message in pair["prompt"]),
        base=pair["base"],
        policy=pair["policy"],
        base_score=scores["base"],
        policy_score=scores["policy"],
    )


def _load_snippet(run: Run, config: Config) -> str:
    exported = run.folder / "export"
    return load_snippet(resolve_model(config.model), exported.as_posix(), plain=saved_choice(exported) == "plain")
