"""The figures of a run, read from manifests, logs and labels, for the report, summary.json and the terminal."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from backbone.loading.base_identity import published_name
from backbone.loading.model_folder import DEMO_MODEL, is_demo
from backbone.loading.model_name import resolve_model
from backbone.templates.plain_text import saved_choice
from foundation.files import Row, read_json, read_rows
from labeling_ui.store.store import Store
from pipeline.champion.history import history
from pipeline.champion.promotion import spread
from pipeline.config.config import Config
from pipeline.reporting.cautions import evaluation_of, export_of
from pipeline.reporting.data import (
    AlarmFigures,
    AnnotatorFigures,
    Comparison,
    EvaluationFigures,
    LabelFigures,
    Measure,
    Rate,
    ReportData,
    RoundFigures,
    SampledPrompt,
    StageRow,
)
from pipeline.reporting.reward import reward_figures
from pipeline.reporting.shipping import decided_in_a_word, how_far, shipping_of, told_of, verdict_figures
from pipeline.reporting.tried import tried_in
from pipeline.runs.folder import Run
from policy.alarms import RULES, alarm_spans
from policy.model_card import ends_in, load_snippet
from policy.training_log import LOG, SAMPLES

_MEASURES = {
    "words": "words per response",
    "finish_rate": "responses that end their turn, share",
    "distinct_1": "distinct-1",
    "distinct_2": "distinct-2",
}


def summarise(run: Run) -> dict[str, Any] | None:
    """The content of summary.json for the run at this round; None before its policy is evaluated."""
    evaluated = run.record("evaluate")
    if evaluated is None or evaluation_of(run) is None:
        return None
    figures = evaluated.figures
    seconds = sum(record.seconds for number in run.rounds() for record in run.at(number).manifest().stages.values())
    return {
        "seconds": round(seconds, 1),
        "win_rate": figures["win_rate"],
        "win_rate_low": figures["low"],
        "win_rate_high": figures["high"],
        "judge": figures["judge"],
        "mean_kl": figures["mean_kl"],
        "kl_target": tuned.basis.config.get("kl_target") if (tuned := run.record("policy")) else None,
        "words_ratio": figures.get("words_ratio"),
        "distinct2_ratio": figures["distinct2_ratio"],
        "adapter": str(export_of(run) or run.folder / "policy"),
        "report": str(run.path / "report.html"),
    }


def table(run: Run, figures: dict[str, Any]) -> Table:
    """The figures as a table for the terminal."""
    drawn = Table(title=f"{run.name}, round {run.round}", title_justify="left", show_header=False)
    rate = f"{figures['win_rate']:.1%} (95% interval {figures['win_rate_low']:.1%} to {figures['win_rate_high']:.1%})"
    path, target = evaluation_of(run), figures["kl_target"]
    kl, length = (spread(read_json(path), name) if path else "" for name in ("kl", "length"))
    held = f" (target {target:g})" if target is not None else ""
    drawn.add_row("KL from the base, nats per response", f"{figures['mean_kl']:.2f}{kl}{held}")
    if figures["words_ratio"] is not None:
        drawn.add_row("length in words, ratio to the base", f"{figures['words_ratio']:.2f}{length}")
    drawn.add_row("distinct-2, ratio to the base", f"{figures['distinct2_ratio']:.2f}")
    drawn.add_row(f"policy beats base, judged by the {figures['judge']}", rate)
    reward = run.record("reward")
    tuned = run.record("policy")
    if tuned and "judge_gain" in tuned.figures:
        gain, low, high = (tuned.figures[name] for name in ("judge_gain", "judge_low", "judge_high"))
        drawn.add_row(
            "gain by a judge from other labels, in its SDs", f"{gain:+.2f} (95% interval {low:+.2f} to {high:+.2f})"
        )
    if reward:
        right, low, high = (reward.figures[name] for name in ("accuracy", "accuracy_low", "accuracy_high"))
        drawn.add_row("reward model, held-out accuracy", f"{right:.1%} (95% interval {low:.1%} to {high:.1%})")
    drawn.add_row("seconds, all stages", f"{figures['seconds']:.0f}")
    drawn.add_row("adapter", figures["adapter"])
    return drawn


def snippet(run: Run, config: Config) -> str:
    """What loads the exported adapter; nothing where this policy is not exported."""
    exported = export_of(run)
    return f"\n{_load_snippet(exported, config)}\n" if exported else ""


def report_data(
    run: Run, config: Config, store: Store, told: Sequence[str] = (), waiting: Row | None = None,
    never: str | None = None,
) -> ReportData:  # fmt: skip
    """Everything that the report shows of the run, at this round.

    `told` stands before all figures; `waiting` is how an open verdict stands, `never` why none could be decided.
    """
    exported, training, tuned = export_of(run), _training(run), run.record("policy")
    return ReportData(
        run=run.name,
        path=run.argument,
        model=DEMO_MODEL if is_demo(config.model) else config.model,
        created_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        rounds=tuple(_round(run.at(number)) for number in run.rounds()),
        labels=_labels(run, store),
        reward=reward_figures(run),
        training=tuple(_numbers(row) for row in training),
        alarms=tuple(
            AlarmFigures(name=name, first=first, last=last, figure=RULES[name].figure, advice=RULES[name].advice)
            for name, first, last in alarm_spans(training)
            if name in RULES
        ),
        evaluation=_evaluation(run),
        tried=tried_in(run),
        told=tuple(told),
        shipping=shipping_of(run, config, waiting, never),
        verdict=verdict_figures(run),
        open_verdict=how_far(waiting) if waiting and waiting["judgements"] else "",
        decisions=tuple(told_of(each) for each in history(run)),
        samples=_samples(run),
        settings=run.config_file.read_text(encoding="utf-8") if run.config_file.is_file() else "",
        seed=config.seed,
        manifest=tuple(
            StageRow(stage=record.name, output=record.output, seconds=record.seconds, finished_at=record.finished,
                     sha256=record.output_sha256)
            for record in run.manifest().stages.values()
        ),
        adapter=str(exported or (run.folder / "policy" if tuned else "")),
        load_snippet=_load_snippet(exported, config) if exported else "",
    )  # fmt: skip


def _round(run: Run) -> RoundFigures:
    stages = run.manifest().stages
    labels, reward, evaluated = (
        stages[name].figures if name in stages else {} for name in ("preferences", "reward", "evaluate")
    )
    if evaluation_of(run) is None:  # what there is may be another policy's
        evaluated = {}
    memory = [row["peak_memory_gb"] for row in _training(run) if row.get("peak_memory_gb") is not None]
    return RoundFigures(
        round=run.round,
        judgements=labels.get("judgements"),
        pairs=labels.get("pairs"),
        reward_accuracy=reward.get("accuracy"),
        reward_low=reward.get("accuracy_low"),
        reward_high=reward.get("accuracy_high"),
        longer_wins=reward.get("longer_wins"),
        bag_of_words=reward.get("bag_of_words"),
        win_rate=evaluated.get("win_rate"),
        win_rate_low=evaluated.get("low"),
        win_rate_high=evaluated.get("high"),
        mean_kl=evaluated.get("mean_kl"),
        verdict=verdict_figures(run),
        decision=decided_in_a_word(run),
        seconds=sum(record.seconds for record in stages.values()) if stages else None,
        memory=max(memory, default=None),
    )


def _labels(run: Run, store: Store) -> LabelFigures | None:
    counts = store.counts()
    if not counts.tasks:
        return None
    from labeling_ui.quality import assessment, formatting

    made, agreed, people = run.record("preferences"), assessment.agreement(store), assessment.annotators(store)
    return LabelFigures(
        prompts=counts.prompts,
        tasks=counts.tasks,
        judgements=counts.judgements,
        simulated_judgements=counts.simulated_judgements,
        by_verdict=counts.by_verdict,
        instructions=next((each.instructions for each in store.campaigns()), ""),
        formatting=formatting.in_words(formatting.read(store)),
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
            for each in people
        ),
        further=max(0, sum(each.judgements for each in people) - counts.judgements),
        label_set_hash=store.label_set_hash(),
    )  # fmt: skip


def _training(run: Run) -> list[Row]:
    path = run.folder / "policy" / LOG
    return read_rows(path) if path.is_file() else []


def _samples(run: Run) -> tuple[SampledPrompt, ...]:
    """What the policy stage kept of its responses, by prompt."""
    path = run.folder / "policy" / SAMPLES
    answered: dict[str, list[tuple[int, str]]] = {}
    for row in read_rows(path) if path.is_file() else []:
        asked = "\n\n".join(message["content"] for message in row["prompt"])
        answered.setdefault(asked, []).append((row["step"], row["response"]))
    return tuple(SampledPrompt(prompt=asked, responses=tuple(found)) for asked, found in answered.items())


def _numbers(row: Row) -> Row:
    return {name: value for name, value in row.items() if value is None or isinstance(value, int | float)}


def _evaluation(run: Run) -> EvaluationFigures | None:
    path = evaluation_of(run)
    if path is None:
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
    return EvaluationFigures(
        win_rates=rates,
        mean_kl=found["mean_kl"],
        kl_interval=found["sampled"].get("kl_interval"),  # evaluations of earlier versions have none
        measures=tuple(
            Measure(name=title, base=measured["base"][name], policy=measured["policy"][name])
            for name, title in _MEASURES.items()
        ),
        pairs=tuple(_comparison(pair) for pair in found["sampled"]["pairs"]),
        shown=found["shown"],
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


def _load_snippet(exported: Path, config: Config) -> str:
    return load_snippet(
        config.export.base or published_name(resolve_model(config.model)),
        exported.as_posix(),
        plain=saved_choice(exported) == "plain",
        ends=ends_in((exported / "README.md").read_text(encoding="utf-8")),
    )
