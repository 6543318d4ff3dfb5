"""The whole run, stage by stage: the table of contents.

Each function makes one artifact of a round from those before it, or finds it made. They join the packages, which
do not know one another: a scorer is handed to the policy, texts to the judges, rows to the reward model.
"""

from pathlib import Path
from typing import Any

from rich.console import Console

from rlhf_pipeline.backbone.loading import load_tokenizer, resolve_model
from rlhf_pipeline.errors import UserError
from rlhf_pipeline.files import Row, content_id, read_json, read_jsonl, write_json, write_jsonl
from rlhf_pipeline.labeling_ui.exchange import ImportReport, import_file
from rlhf_pipeline.labeling_ui.exports import beyond_preferences, preferences
from rlhf_pipeline.labeling_ui.records import Prompt
from rlhf_pipeline.pipeline import collect as collecting
from rlhf_pipeline.pipeline import evaluate as evaluating
from rlhf_pipeline.pipeline import summary
from rlhf_pipeline.pipeline.collect import EVERYDAY, HELD_OUT, TRAIN
from rlhf_pipeline.pipeline.config import Config
from rlhf_pipeline.pipeline.joints import (
    NO_LABELS,
    artifact,
    asked_of,
    asking,
    asks_people,
    base_of,
    by_hidden_preference,
    check_overlap,
    how_tuned,
    imported,
    last_figures,
    live_policy,
    prompt_source,
    rows_of,
    steps_shown,
    waiting,
    with_model,
)
from rlhf_pipeline.pipeline.labels import label_store, location
from rlhf_pipeline.pipeline.manifest import StageRecord
from rlhf_pipeline.pipeline.progress import progress
from rlhf_pipeline.pipeline.report import write_report
from rlhf_pipeline.pipeline.rewards import dumped, needs_learned, programmed_judge
from rlhf_pipeline.pipeline.run import Run
from rlhf_pipeline.pipeline.simulate import default_annotators, simulate
from rlhf_pipeline.pipeline.tuning import tune
from rlhf_pipeline.policy.config import OFFLINE
from rlhf_pipeline.policy.export import export_adapter, load_snippet, model_card
from rlhf_pipeline.policy.export import merge as merge_policy
from rlhf_pipeline.policy.state import ADAPTER
from rlhf_pipeline.reward_model.data import held_out_prompts, read_pairs
from rlhf_pipeline.reward_model.ensemble import Ensemble, load_scorer, train_ensemble
from rlhf_pipeline.reward_model.evaluate import evaluate_reward as measure_reward
from rlhf_pipeline.reward_model.evaluate import older_scorer
from rlhf_pipeline.reward_model.metrics import LEARNED_ONLY
from rlhf_pipeline.reward_model.selection import select
from rlhf_pipeline.reward_model.serving import is_reward_folder, merge_reward

SCORE, SIMULATED, PROGRAMMED = "reward model", "simulated preference", "programmed rewards"
_REFUSALS = 10  # shown


def prompts(run: Run, config: Config) -> StageRecord:
    """prompts.jsonl: what this round asks, each prompt marked as for training or held out."""
    source, share = prompt_source(run, config), config.collect.held_out
    inputs = [] if source == "labels" else [EVERYDAY if source == "everyday" else Path(source)]
    rows: list[Row] = []
    if source == "labels":
        # Held out are the reward model's own held-out prompts: nothing that the policy is judged on was trained on.
        share = config.reward.held_out
        with label_store(run, config) as store:
            known = store.prompts()
        held_out = held_out_prompts([prompt.id for prompt in known], share, config.seed)
        rows = [collecting.prompt_row(prompt, HELD_OUT if prompt.id in held_out else TRAIN) for prompt in known]

    def produce(folder: Path) -> dict[str, Any]:
        made = rows or collecting.read_prompts(inputs[0], share)
        write_jsonl(folder / "prompts.jsonl", made)
        return {split: sum(row["split"] == split for row in made) for split in (TRAIN, HELD_OUT)}

    settings = {"source": source, "held_out": share}
    return run.stage("prompts", "prompts.jsonl", inputs, settings, produce, extra={"prompts": content_id(rows)})


def collect(run: Run, config: Config, console: Console) -> StageRecord:
    """candidates.jsonl: responses of the base, later of the last round's policy; pairs of them become tasks."""
    prompts(run, config)
    settings = config.collect
    before = run.at(run.round - 1).folder / "policy" if run.round else None

    def produce(folder: Path) -> dict[str, Any]:
        base = base_of(config)
        asked = asked_of(run, config, base, console, TRAIN)
        if settings.limit:  # each round asks the next so many
            first = run.round * settings.limit % len(asked)
            asked = (asked[first:] + asked[:first])[: settings.limit]
        if before:
            base.load_adapter(ADAPTER, before)
        source = {
            "model": config.model,
            "adapter": before and before.relative_to(run.path).as_posix(),
            "round": run.round,
        }
        with progress(console, "collect", len(asked) * settings.candidates) as advance:
            return collecting.collect(
                settings, base, asked, folder, adapter=ADAPTER if before else None, source=source,
                seed=config.seed + run.round, advance=advance,
            )  # fmt: skip

    inputs = [run.folder / "prompts.jsonl", *([before] if before else [])]
    record = run.stage("collect", "candidates.jsonl", inputs, {"model": config.model, **settings.model_dump()}, produce)
    with label_store(run, config) as store:
        rows = rows_of(run.folder / "candidates.jsonl")
        campaign = config.label.campaign
        candidates, tasks = collecting.tasks_of(rows, settings.pairs_per_prompt, config.seed, campaign)
        store.add_campaign(campaign)
        store.add_prompts(Prompt(tuple(row["prompt"])) for row in rows)
        store.add_candidates(candidates)
        fresh = store.add_tasks(tasks)
    console.print(f"collect: {len(candidates)} candidates, {len(tasks)} tasks to judge ({fresh} new).")
    return record


def label(run: Run, config: Config, console: Console, *, simulated: bool = False) -> None:
    """Open the labeling app, or let simulated annotators answer in people's stead."""
    if simulated:
        check_overlap(config)
    with label_store(run, config) as store:
        store.add_campaign(config.label.campaign)  # its settings may have changed since its tasks were added
    if not simulated:
        from rlhf_pipeline.labeling_ui.server import serve

        with live_policy(run, config) as generate:
            serve(location(run, config), config.label.host, config.label.port, generate)
        return
    left = waiting(run, config)
    with label_store(run, config) as store, progress(console, "simulate", max(left, 1)) as advance:
        # Repeats come on top of what waits.
        new = simulate(store, default_annotators(), config.seed, lambda made: advance(int(made <= left)))
    console.print(f"label: {new} judgements by SIMULATED annotators with a programmed preference; no person was asked.")


def import_labels(
    run: Run, config: Config, console: Console, *, format: str, file: Path, gold: bool = False, out: Path | None = None
) -> ImportReport:
    """Bring existing human judgements, or tasks whose answer is known, into the run's campaign."""
    with label_store(run, config) as store:
        done = import_file(store, format, file, config.label.campaign, gold=gold)
    what = "gold tasks" if gold else "judgements"
    console.print(f"import: {done.taken} {what} taken, {done.already_there} were there already.")
    for refusal in done.refused[:_REFUSALS]:
        reason = "".join(letter if letter.isprintable() else "?" for letter in refusal.reason)  # it quotes the file
        console.print(f"  line {refusal.line}: {reason}", markup=False, soft_wrap=True)
    if len(done.refused) > _REFUSALS:
        console.print(f"  ... and {len(done.refused) - _REFUSALS} more refused; `--report FILE` writes them all.")
    if out:
        write_jsonl(out, ({"line": refusal.line, "reason": refusal.reason} for refusal in done.refused))
    return done


def preference_rows(run: Run, config: Config) -> StageRecord:
    """preferences.jsonl: every judgement so far, one row a pair, in TRL's format."""
    with label_store(run, config) as store:
        label_set = store.label_set_hash()
        counts = store.counts()

        def produce(folder: Path) -> dict[str, Any]:
            found = preferences(store)
            write_jsonl(folder / "preferences.jsonl", found.rows)
            return {
                "pairs": len(found.rows), "ties": found.ties, "both_bad": found.both_bad, "skipped": found.skipped,
                "judgements": counts.judgements, "simulated_judgements": counts.simulated_judgements,
            }  # fmt: skip

        if not counts.judgements:
            raise UserError(
                f"the run {run.path} has no judgements yet. Get some: `rlhf collect` and `rlhf label --run {run.path}` "
                "ask people, `rlhf import --format FORMAT FILE` brings existing ones, `rlhf label --simulate` tries "
                "the loop out."
            )
        return run.stage("preferences", "preferences.jsonl", [], {}, produce, extra={"label_set": label_set})


def other_labels(run: Run, config: Config) -> StageRecord:
    """other_labels.jsonl: ties, whole rankings and ratings, which say what a preference row cannot."""
    with label_store(run, config) as store:

        def produce(folder: Path) -> dict[str, Any]:
            rows = beyond_preferences(store)
            write_jsonl(folder / "other_labels.jsonl", rows)
            rankings, ratings = (sum(field in row for row in rows) for field in ("ranks", "score"))
            return {"ties": len(rows) - rankings - ratings, "rankings": rankings, "ratings": ratings}

        extra = {"label_set": store.label_set_hash()}
        return run.stage("other_labels", "other_labels.jsonl", [], {}, produce, extra=extra)


def reward(run: Run, config: Config, console: Console) -> StageRecord:
    """reward/: a LoRA reward model with its score head, and how good it is on held-out prompts."""
    preference_rows(run, config)
    other_labels(run, config)
    paths = [run.folder / "preferences.jsonl", run.folder / "other_labels.jsonl"]
    pairs, others = (rows_of(path) for path in paths)
    ranked = any("ranks" in row for row in others)  # whole rankings say all that their pairs say
    rows = [row for row in pairs if not (ranked and row["origin"] == "ranking")] + others
    if not rows:
        raise UserError(f"none of the judgements in {run.path} prefers one response: there is nothing to learn from.")
    select(config.reward, rows, config.seed)  # fails before a model is loaded

    def produce(folder: Path) -> dict[str, Any]:
        with steps_shown(console, "reward") as on_step:
            return train_ensemble(
                config.reward, config.model, rows, folder, seed=config.seed, dtype=config.dtype, device=config.device,
                on_step=on_step,
            )  # fmt: skip

    record = run.stage("reward", "reward", paths, with_model(config, config.reward), produce)
    figures = record.figures
    console.print(
        f"reward: {figures['accuracy']:.1%} right on {figures['n']} held-out pairs (95% interval "
        f"{figures['accuracy_low']:.1%} to {figures['accuracy_high']:.1%}); longer wins {figures['longer_wins']:.1%}, "
        f"bag of words {figures['bag_of_words']:.1%}."
    )
    return record


def policy(run: Run, config: Config, console: Console, *, profile: bool = False) -> StageRecord:
    """policy/: the adapter after training on the rewards, or by DPO on the preferences; `profile` records a step."""
    prompts(run, config)
    offline = config.policy.algorithm in OFFLINE
    if offline:
        preference_rows(run, config)
    learned = run.folder / "preferences.jsonl" if offline else None
    if needs_learned(config.rewards) and not offline:
        learned = artifact(run, "reward")
    before = run.at(run.round - 1).folder / "policy" if run.round else config.policy.initial
    inputs = [run.folder / "prompts.jsonl", *(each for each in (learned, before) if each)]
    settings = asking(config, config.policy)
    del settings["alarms"]  # they tell, and change nothing
    if config.rewards != LEARNED_ONLY and not offline:
        settings["rewards"] = dumped(config.rewards)

    def produce(folder: Path) -> dict[str, Any]:
        return last_figures(tune(run, config, console, folder, learned=learned, initial=before, profile=profile))

    record = run.stage("policy", "policy", inputs, settings, produce)
    if profile and record.skipped:
        console.print("profile: nothing was recorded, for the policy is made already. Profile it in another run.")
    return record


def evaluate(run: Run, config: Config, console: Console) -> StageRecord:
    """evaluation.json: policy against base on held-out prompts, judged without knowing which is which."""
    adapter = artifact(run, "policy")
    programmed = not needs_learned(config.rewards) and not (run.folder / "reward").exists()
    judging = None if programmed else artifact(run, "reward")
    with label_store(run, config) as store:
        counts = store.counts()
        simulated = counts.simulated_judgements == counts.judgements > 0

    def produce(folder: Path) -> dict[str, Any]:
        base = base_of(config)
        base.load_adapter(ADAPTER, adapter)
        asked = asked_of(run, config, base, console, HELD_OUT)[: config.evaluate.prompts]
        if len(asked) < 2:
            raise UserError(
                "there are fewer than two held-out prompts to evaluate on. Add prompts, or raise collect.held_out."
            )
        scorer = load_scorer(judging, base) if judging else programmed_judge(config.rewards, base, asked)
        judges: dict[str, evaluating.Judge] = {SIMULATED: by_hidden_preference} if simulated else {}
        judges[SCORE if judging else PROGRAMMED] = lambda rows, answers: scorer.score(
            [base.renderer.prompt_ids(row["prompt"]) for row in rows], [answer["ids"] for answer in answers]
        ).tolist()
        with progress(console, "evaluate", config.evaluate.responses * len(asked)) as advance:
            found = evaluating.evaluate(
                config.evaluate, base, ADAPTER, asked, judges, folder, seed=config.seed, advance=advance, scorer=scorer
            )
        write_json(folder / "evaluation.json", found)
        rate = found["sampled"]["win_rates"][next(iter(judges))]
        return {
            **rate,
            "judge": next(iter(judges)),
            "mean_kl": found["mean_kl"],
            "distinct2_ratio": found["distinct2_ratio"],
        }

    return run.stage(
        "evaluate",
        "evaluation.json",
        [run.folder / "prompts.jsonl", adapter, *([judging] if judging else [])],
        asking(config, config.evaluate) | ({} if judging else {"rewards": dumped(config.rewards)}),
        produce,
        extra={"simulated": simulated},
    )


def export(run: Run, config: Config, console: Console) -> StageRecord:
    """export/: the adapter as an ordinary PEFT folder, with a card that says what it was made from."""
    adapter, evaluation = artifact(run, "policy"), artifact(run, "evaluation.json")
    labels, reward_model, tuned = run.record("preferences"), run.record("reward"), run.record("policy")
    assert tuned

    def produce(folder: Path) -> dict[str, Any]:
        model = resolve_model(config.model)
        card = model_card(
            base=model,
            license=config.export.license,
            snippet=load_snippet(model, (run.folder / "export").as_posix()),
            how=how_tuned(config),
            labels=labels.figures if labels else NO_LABELS,
            evaluation=read_json(evaluation),
            reward=reward_model.figures if reward_model else {},
            settings=config.policy.model_dump(mode="json") | {"seed": config.seed, "round": run.round},
            provenance={
                "label set": labels.basis.extra["label_set"] if labels else "none",
                "reward model": reward_model.output_sha256 if reward_model else "none",
                "made by": f"rlhf-pipeline {tuned.versions['rlhf-pipeline']}",
            },
        )
        export_adapter(adapter, load_tokenizer(model), folder, card)
        return {}

    return run.stage("export", "export", [adapter, evaluation], with_model(config, config.export), produce)


def report(run: Run, config: Config, console: Console) -> Path:
    """report.html and summary.json: the run in figures, as far as it got."""
    with label_store(run, config) as store:
        write_report(summary.report_data(run, config, store), run.path / "report.html")
    figures = summary.summarise(run)
    if figures:
        write_json(run.path / "summary.json", figures)
        console.print(summary.table(run, figures))
        console.print(summary.snippet(run, config), markup=False, highlight=False, soft_wrap=True)
    console.print(f"report: {run.path / 'report.html'}", soft_wrap=True)
    return run.path / "report.html"


def loop(run: Run, config: Config, console: Console, *, simulated: bool = False, rounds: int = 1) -> None:
    """Every stage in turn, until the run has so many rounds; stops where people are needed to label. Where they are
    not, because all rewards are programmatic, nothing is collected and no reward model is trained.

    A round that was followed by another is closed: labels and settings that came later are not carried back into it.
    """
    if simulated:
        check_overlap(config)
    people = simulated or asks_people(run, config)
    latest = run.latest_round()
    for number in range(latest, max(rounds, latest + 1)):
        now = run.at(number)
        console.rule(f"round {number}")
        if people and not (number == 0 and imported(run, config)):
            collect(now, config, console)
            if simulated:
                label(now, config, console, simulated=True)
            elif waiting(run, config):
                console.print(
                    f"The candidates wait for their judges: `rlhf label --run {run.path}`. Then run this again."
                )
                return
        if people:
            reward(now, config, console)
        for stage in (policy, evaluate, export):
            stage(now, config, console)
    report(now, config, console)


def score(config: Config, console: Console, *, reward_folder: Path, file: Path, out: Path) -> None:
    """Add to `{"prompt", "response"}` rows their score, and where the reward model has them its standard deviation and
    the scores of rated aspects.
    """
    scorer = load_scorer(reward_folder, dtype=config.dtype, device=config.device)
    rows = [row for _, row in read_jsonl(file, {"prompt": list, "response": str})]
    render = scorer.base.renderer
    prompts = [render.prompt_ids(row["prompt"]) for row in rows]
    responses = [render.response_ids(row["response"]) for row in rows]
    if scorer.unsure:
        scores, stds = scorer.score(prompts, responses, return_std=True)
        found = [{"score": mean, "score_std": std} for mean, std in zip(scores.tolist(), stds.tolist(), strict=True)]
    else:
        found = [{"score": mean} for mean in scorer.score(prompts, responses).tolist()]
    aspects = {name: values.tolist() for name, values in scorer.aspect_scores(prompts, responses).items()}
    for place, row in enumerate(found if aspects else []):
        row["aspects"] = {name: values[place] for name, values in aspects.items()}
    write_jsonl(out, [row | more for row, more in zip(rows, found, strict=True)])
    console.print(f"score: {len(rows)} responses scored to {out}")


def evaluate_reward(
    config: Config, console: Console, *, reward_folder: Path, pairs: Path, out: Path | None, older: Path | None = None
) -> Row:
    """How good a reward model is on pairs that it was not trained on, and what has changed since an `older` one."""
    rows, left_out = read_pairs(pairs)
    scorer = load_scorer(reward_folder, dtype=config.dtype, device=config.device)
    first = scorer.members[0] if isinstance(scorer, Ensemble) else scorer
    figures = measure_reward(first, rows, older=older_scorer(first, older) if older else None)
    if isinstance(scorer, Ensemble):
        figures["ensemble_accuracy"] = scorer.accuracy(rows)
    if out:
        write_json(out, figures)
    console.print(f"{len(left_out)} lines compare nothing and were left out." if left_out else "")
    console.print_json(data=figures)
    return figures


def merge(adapter: Path, out: Path, model: str | None = None) -> None:
    """Write an adapter and its base as one model: one that scores where the adapter has a score head."""
    (merge_reward if is_reward_folder(adapter) else merge_policy)(adapter, out, model)
