"""The whole run: the loop, and the stages in the order of the data.

Each stage makes one artifact of a round from those before it, or finds it up to date (`runs/make_output.py`). They join
the packages, which do not know one another, and import trainer or sampler when they use it: torch takes seconds.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from foundation.files import Row, content_id, write_json, write_jsonl
from labeling_ui.exchange.imports import ImportReport
from pipeline.acquisition.keeping import priorities_kept
from pipeline.champion.promotion import verdict_of
from pipeline.champion.start import began_with, begins_with
from pipeline.collection.candidates import add_tasks, sample_candidates
from pipeline.collection.held_out import kept_for_measuring, preference_rows, splits
from pipeline.collection.prompts import HELD_OUT, TRAIN, imported, judged_stay_held_out, source_name, source_of
from pipeline.config.config import Config
from pipeline.importing import ImportOptions, import_judgements
from pipeline.judgements import check_judged, training_rows, write_other_labels, write_preferences
from pipeline.live_generation import live_policy
from pipeline.preflight.at_start import base_that_lasts, foreseen, refuse_ahead, told_together
from pipeline.preflight.reward_gate import refuse_weak
from pipeline.promoting import promote
from pipeline.reporting import cautions, figures
from pipeline.reporting.reward import reward_line
from pipeline.runs.content import content_of
from pipeline.runs.folder import Run
from pipeline.runs.label_settings import apply_label_settings, open_campaign
from pipeline.runs.label_store import all_simulated, has_judgements, label_store, location, waiting
from pipeline.runs.manifest import StageRecord
from pipeline.simulation.annotators import answer_tasks, check_overlap
from pipeline.terminal.progress import steps_shown
from reward_model.labels.selection import select


def loop(run: Run, config: Config, console: Console, *, simulated: bool = False, rounds: int = 1) -> None:
    """Every stage in turn, until the run has so many rounds; stops when people are needed to label.

    If all rewards are programmatic, nobody is needed: nothing is collected and no reward model is trained. A round that
    was followed by another is closed: labels and settings that came later are not carried back into it.
    """
    from pipeline.verdict.deciding import left_to_judge

    if simulated:
        check_overlap(config.label.overlap, config.label.max_overlap)
    label_it = f"`rlhf label --run {run.argument}`"
    people = simulated or config.learned_reward or config.offline or has_judgements(run, config)
    latest = run.latest_round()
    for number in range(latest, max(rounds, latest + 1)):
        now = run.at(number)
        console.rule(f"round {number}")
        if people and not (number == 0 and imported(run, config) and has_judgements(run, config)):
            if number or not imported(run, config):
                collect(now, config, console)
            if simulated:
                label(now, config, console, simulated=True)
            elif waiting(run, config):
                _say(console, f"The candidates wait for their judges: {label_it}. Then run this again.")
                return
        elif not now.record("policy"):
            with told_together(now, config):
                prompts(now, config)
            refuse_ahead(now, config)
        if people:
            reward(now, config, console)
        policy(now, config, console)
        evaluate(now, config, console)
        left = left_to_judge(now, config, console, simulated=simulated) if people and config.verdict.enabled else 0
        if not left:
            promote(now, config, console)
        export(now, config, console)
        if left:
            break
    report(now, config, console)
    if left:
        _say(console, f"The verdict waits for about {left} judgements: {label_it}. Then run this again.")


def prompts(run: Run, config: Config) -> StageRecord:
    """prompts.jsonl: what this round asks, each prompt marked as for training or held out."""
    source, made = source_of(run, config), run.record("prompts")
    if made and not all(file.exists() for file in source.files) and source.is_that_of(made.basis.config):
        run.say(f"prompts: {source.name} is not there; the round keeps the prompts that it has.")
        return made

    def produce(folder: Path) -> dict[str, int]:
        rows = judged_stay_held_out(run, config, source.read())
        write_jsonl(folder / "prompts.jsonl", rows)
        return splits(run, rows, source.by_prompt)

    settings = {"source": source.name, "held_out": source.held_out}
    return run.stage(
        "prompts", "prompts.jsonl", source.files, settings, produce, extra={"prompts": content_id(source.rows)}
    )


def collect(run: Run, config: Config, console: Console) -> StageRecord:
    """candidates.jsonl: responses of the base, later of the policy that the round begins with; pairs become tasks."""
    with told_together(run, config):
        prompts(run, config)
    config = apply_label_settings(run, config, console)
    before = begins_with(run, config) if run.round else None
    inputs = [run.folder / "prompts.jsonl", *([before] if before else [])]
    settings = {**config.base, **config.collect.model_dump(exclude={"chooser"})}  # it chooses among what is made
    record = run.stage(
        "collect", "candidates.jsonl", inputs, settings,
        lambda folder: sample_candidates(
            run, config, console, folder, base_that_lasts(run, config, console, before), adapter=before
        ),
        content=content_of(run, config, split=TRAIN),
    )  # fmt: skip
    add_tasks(run, config, console)
    return record


def label(run: Run, config: Config, console: Console, *, simulated: bool = False) -> None:
    """Open the labeling app, or let simulated annotators answer in people's stead."""
    if simulated:
        check_overlap(config.label.overlap, config.label.max_overlap)
    config = open_campaign(run, config, console)
    if simulated:
        new = answer_tasks(run, config, console)
        console.print(f"label: {new} judgements by SIMULATED annotators (a programmed score); no person was asked.")
        return
    from labeling_ui.web.server import serve

    with live_policy(run, config) as generate, priorities_kept(run, config, kept_for_measuring(run, config)):
        here = config.label
        serve(location(run, config), here.host, here.port, generate, here.root_path, here.notices)


def import_labels(run: Run, config: Config, console: Console, file: str, options: ImportOptions) -> ImportReport:
    """Bring existing judgements, tasks whose answer is known, or responses to judge into the run's campaign."""
    done = import_judgements(run, config, console, file, options)
    if options.dry_run or options.gold:
        return done
    with label_store(run, config) as store:
        alone = store.counts().prompts == 1
    if alone:
        console.print("import: there is only one prompt; training needs another to be measured on.")
    for reason in foreseen(run, config):
        console.print(f"import: a later stage would stop: {reason}", markup=False, highlight=False, soft_wrap=True)
    return done


def preferences(run: Run, config: Config) -> StageRecord:
    """preferences.jsonl: every judgement so far, one row per pair, in TRL's format."""
    with label_store(run, config) as store:
        check_judged(run, store.counts())
        return run.stage(
            "preferences", "preferences.jsonl", [], {}, lambda folder: write_preferences(store, folder),
            extra={"label_set": store.label_set_hash()},
        )  # fmt: skip


def other_labels(run: Run, config: Config) -> StageRecord:
    """other_labels.jsonl: ties, whole rankings and ratings, which say what a preference row cannot."""
    with label_store(run, config) as store:
        return run.stage(
            "other_labels", "other_labels.jsonl", [], {}, lambda folder: write_other_labels(store, folder),
            extra={"label_set": store.label_set_hash()},
        )  # fmt: skip


def reward(run: Run, config: Config, console: Console) -> StageRecord:
    """reward/: a LoRA reward model with its score head, and how good it is on held-out prompts."""
    if source_name(run, config) != "labels":
        prompts(run, config)
    inputs = [run.folder / made(run, config).output for made in (preferences, other_labels)]
    rows, left_out = training_rows(run, config, *inputs)
    select(config.reward, rows, config.seed)  # fails before a model is loaded
    inputs += [config.reward.initial] if config.reward.initial else []

    def produce(folder: Path) -> dict[str, object]:
        from reward_model.training.train_ensemble import train_ensemble

        with steps_shown(console, "reward") as on_step:
            return train_ensemble(
                config.reward, config.model, rows, folder, seed=config.seed, dtype=config.dtype, device=config.device,
                template=config.template, quantization=config.quantization, on_step=on_step,
            )  # fmt: skip

    settings = config.with_model(config.reward)
    record = run.stage("reward", "reward", inputs, settings, produce, extra=left_out, content=content_of(run, config))
    _say(console, reward_line(run, record.figures))
    _caution(console, "reward", cautions.of_reward(record.figures))
    return record


def policy(run: Run, config: Config, console: Console, *, profile: bool = False) -> StageRecord:
    """policy/: the adapter after training on the rewards, or by DPO on the preferences; `profile` records a step."""
    prompts(run, config)
    learned, left_out = None, {}
    if config.offline:
        learned, left_out = run.folder / preferences(run, config).output, preference_rows(run)[1]
    elif config.learned_reward:
        learned = run.artifact("reward")
        refuse_weak(run, config)
    before = begins_with(run, config)
    settings = config.of_policy

    def produce(folder: Path) -> Mapping[str, object]:
        from pipeline.tuning import tune

        return tune(run, config, console, folder, learned=learned, initial=before, profile=profile)

    record = run.stage(
        "policy", "policy", [run.folder / "prompts.jsonl", *(each for each in (learned, before) if each)], settings,
        produce, extra=left_out, content=content_of(run, config, split=TRAIN, rewards="rewards" in settings),
    )  # fmt: skip
    _caution(console, "policy", cautions.of_policy(run, before))
    if profile and record.skipped:
        console.print("profile: nothing was recorded, for the policy is made already. Profile it in another run.")
    return record


def evaluate(run: Run, config: Config, console: Console) -> StageRecord:
    """evaluation.json: policy against base on held-out prompts, judged without knowing which is which."""
    prompts(run, config)  # there may be more held-out ones by now
    adapter = run.artifact("policy")
    reward = run.artifact("reward") if config.learned_reward or (run.folder / "reward").exists() else None
    by_rewards = reward is None or config.best_of_rewards
    settings = config.with_prompts(config.evaluate) | ({"rewards": config.rewards_as_json} if by_rewards else {})
    simulated = all_simulated(run, config)

    def produce(folder: Path) -> Mapping[str, object]:
        from pipeline.evaluation.judges import compare_with_base

        return compare_with_base(run, config, console, folder, adapter=adapter, reward=reward, simulated=simulated)

    record = run.stage(
        "evaluate", "evaluation.json", [run.folder / "prompts.jsonl", adapter, *([reward] if reward else [])], settings,
        produce, extra={"simulated": simulated}, content=content_of(run, config, split=HELD_OUT, rewards=by_rewards),
    )  # fmt: skip
    _caution(console, "evaluate", cautions.of_evaluation(run))
    return record


def verdict(run: Run, config: Config, console: Console, *, simulated: bool = False) -> Row:
    """verdict.json: whether people prefer the policy to the champion, blind; while that is open, how it stands."""
    from pipeline.verdict.deciding import decide_or_tell

    prompts(run, config)
    return decide_or_tell(run, config, console, simulated=simulated)


def export(run: Run, config: Config, console: Console) -> StageRecord:
    """export/: the adapter as an ordinary PEFT folder, with a card that says what it was made from and how it fares."""
    adapter, evaluation, verdict = run.artifact("policy"), cautions.evaluation_of(run), verdict_of(run)
    told = cautions.of_round(run, began_with(run, config))
    said = cautions.told_and_decided(run, told)

    def produce(folder: Path) -> dict[str, object]:
        from pipeline.exporting.adapter import export_with_card

        export_with_card(run, config, folder, adapter=adapter, evaluation=evaluation, verdict=verdict, told=told)
        return {}

    record = run.stage(
        "export", "export", [adapter, *(each for each in (evaluation, verdict) if each)],
        config.with_model(config.export.of_adapter), produce, content=content_of(run, config), extra=said,
    )  # fmt: skip
    _caution(console, "export", told)
    if not evaluation:
        console.print(f"export: `rlhf evaluate --run {run.argument}` compares it with its base.", soft_wrap=True)
    return record


def report(run: Run, config: Config, console: Console) -> Path:
    """report.html and summary.json: the run in figures, as far as it got."""
    from pipeline.reporting.report import write_report
    from pipeline.verdict.deciding import open_verdict
    from pipeline.verdict.pairs import why_never_decided

    told = [*cautions.of_round(run, began_with(run, config)), *cautions.of_export(run)]
    verdict, summary = (open_verdict(run, config), why_never_decided(run, config)), run.path / "summary.json"
    with label_store(run, config) as store:
        write_report(figures.report_data(run, config, store, told, *verdict), run.path / "report.html")
    if found := figures.summarise(run):
        write_json(summary, found)
        console.print(figures.table(run, found))
        console.print(figures.snippet(run, config), markup=False, highlight=False, soft_wrap=True)
    else:
        summary.unlink(missing_ok=True)  # it is about a policy that is there no more
    _caution(console, "report", told)
    console.print(f"report: {run.path / 'report.html'}", soft_wrap=True)
    return run.path / "report.html"


def _caution(console: Console, stage: str, sentences: Sequence[str]) -> None:
    for sentence in sentences:
        _say(console, f"{stage}: {sentence}")


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)  # a command in it can be copied
