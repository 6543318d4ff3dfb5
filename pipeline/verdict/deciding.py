"""The verdict stage: opens the pairs in the label store, tells how they stand, and decides once there is enough.

An open verdict is no artifact: it is worked out from the label store (`standing.py`). Only a decision is written, whole
and once. A policy that was made anew, or another champion, needs another verdict, whose pairs are another campaign.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from foundation.files import Row, read_json, read_rows, write_json
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Prompt
from labeling_ui.store.store import Store
from pipeline.champion.history import Champion, current
from pipeline.config.config import Config
from pipeline.reporting.cautions import evaluation_of
from pipeline.runs.content import content_of
from pipeline.runs.folder import Run
from pipeline.runs.label_store import all_simulated, label_store
from pipeline.simulation.annotators import answer_tasks, check_overlap
from pipeline.verdict import telling
from pipeline.verdict.ballots import candidates_of, read_ballots, task_of
from pipeline.verdict.endpoint import judged_by_endpoint
from pipeline.verdict.pairs import PAIRS, TooFewPrompts, check_enough, known_prompts, sample_pairs, settled
from pipeline.verdict.standing import Plan, standing

VERDICT = "verdict.json"


def decide_or_tell(run: Run, config: Config, console: Console, *, simulated: bool = False) -> Row:
    """The verdict on the round's policy as far as it is: decided and written, or open and told.

    `simulated`: simulated annotators answer what is open. `UserError` if the held-out prompts are too few to decide.
    """
    made = decided(run)
    if made is None:
        if simulated:
            check_overlap(config.verdict.judges)
        pairs = _pairs(run, config, console)
        plan = plan_of(run)
        assert plan
        with label_store(run, config) as store:
            new = _open(store, plan, pairs, console)
        if new:
            telling.opened(console, plan, pairs)
            telling.promotion_needs(console, config.promotion.format, _measured(run, config))
        if simulated:
            answer_tasks(run, config, console)
        with label_store(run, config) as store:
            found = standing(store, plan, pairs)
        if found["outcome"] == "open":
            telling.waits(console, run, found)
            return found
        if config.verdict.endpoint:
            found = _with_endpoint(run, config, console, plan, pairs, found)
        made = _write(run, found)
    with label_store(run, config) as store:
        _close(store, console, keep=None)
    telling.decided(console, run, made)
    return made


def left_to_judge(run: Run, config: Config, console: Console, *, simulated: bool) -> int:
    """As `decide_or_tell`: about how many judgements an open verdict waits for, 0 for a decision.

    Too few prompts to ever decide are told, and leave the policy without a verdict.
    """
    try:
        return int(decide_or_tell(run, config, console, simulated=simulated)["expected_more"] or 0)
    except TooFewPrompts as reason:
        console.print(f"verdict: {reason}", markup=False, highlight=False, soft_wrap=True)
        return 0


def decided(run: Run) -> Row | None:
    """The round's verdict.json, if it is about the round's present policy."""
    path, tuned = run.folder / VERDICT, run.record("policy")
    if tuned is None or run.record("verdict") is None or not path.is_file():
        return None
    found: Row = read_json(path)
    return found if found["candidate"]["sha256"] == tuned.output_sha256 else None


def open_verdict(run: Run, config: Config) -> Row | None:
    """As verdict.json, how the round's open verdict stands; None if none is open. Samples and changes nothing."""
    plan, path = plan_of(run), run.folder / PAIRS
    if plan is None or not path.is_file() or decided(run):
        return None
    tuned = run.record("policy")
    if tuned is None or plan.candidate["sha256"] != tuned.output_sha256:
        return None
    with label_store(run, config) as store:
        there = plan.campaign in store.tasks_by_campaign() and store.version(plan.campaign) == 1
        return standing(store, plan, read_rows(path)) if there else None


def plan_of(run: Run) -> Plan | None:
    """What the round's verdict was opened with."""
    record = run.record("verdict-pairs")
    return Plan.model_validate(record.figures["plan"]) if record else None


def _pairs(run: Run, config: Config, console: Console) -> list[Row]:
    """The pairs as they were opened, or sampled now."""
    candidate, champion, reward = run.artifact("policy"), current(run, config), run.folder / "reward"
    if run.record("verdict-pairs") is None:
        check_enough(run, config, known_prompts(run, config))

    def produce(folder: Path) -> Mapping[str, Any]:
        with label_store(run, config) as store:
            judged, plan = store.judged_prompts(), _plan(run, config, store, champion)
        made = sample_pairs(
            run, config, console, folder, candidate=candidate, champion=champion,
            reward=reward if reward.is_dir() else None, simulated=all_simulated(run, config), judged=judged,
        )  # fmt: skip
        return {**made, "plan": plan.model_dump()}

    inputs = [candidate, *([champion.adapter] if champion.adapter else [])]
    run.stage("verdict-pairs", PAIRS, inputs, config.base, produce, content=content_of(run, config))
    return read_rows(run.folder / PAIRS)


def _measured(run: Run, config: Config) -> int:
    """On how many prompts the policy's form is, or will be, compared with the champion's."""
    if evaluation := evaluation_of(run):
        return int(read_json(evaluation)["prompts"])
    return min(config.evaluate.prompts, known_prompts(run, config))


def _plan(run: Run, config: Config, store: Store, champion: Champion) -> Plan:
    tuned, name = run.record("policy"), f"verdict-{run.round:03d}-"
    assert tuned
    opened = sum(each.name.startswith(name) for each in store.campaigns())
    return Plan(
        campaign=f"{name}{opened + 1}",
        candidate={"round": run.round, "adapter": f"{run.folder.name}/policy", "sha256": tuned.output_sha256},
        champion={"name": champion.name, "sha256": champion.sha256},
        judges=config.verdict.judges,
        alpha=config.verdict.alpha,
        margin=config.verdict.margin,
    )


def _open(store: Store, plan: Plan, pairs: list[Row], console: Console) -> bool:
    """Put the pairs into the label store, unless they are there; returns whether they are new."""
    _close(store, console, keep=plan.campaign)
    asked = [pair for pair in pairs if not settled(pair)]
    known = [each for each in store.campaigns() if not each.is_verdict and each.kind == "pairwise"]
    store.add_campaign((known[0] if known else Campaign()).for_verdict(plan.campaign, plan.judges))
    store.add_prompts(Prompt(tuple(pair["prompt"])) for pair in asked)
    store.add_candidates(one for pair in asked for one in candidates_of(pair).values())
    return bool(store.add_tasks(task_of(pair, plan.campaign) for pair in asked))


def _with_endpoint(run: Run, config: Config, console: Console, plan: Plan, pairs: list[Row], found: Row) -> Row:
    """The same verdict with what a model behind an address says of the pairs that people decided it on."""
    with label_store(run, config) as store:
        bets = read_ballots(store, plan.campaign, pairs).bets[: found["prompts"]]
        instructions = next(each.instructions for each in store.campaigns() if each.name == plan.campaign)
        asked = [bet.pair for bet in bets if bet.votes]
        judged = {row["prompt_id"]: row for row in judged_by_endpoint(config.verdict, asked, instructions, console)}
        return standing(store, plan, [judged.get(pair["prompt_id"], pair) for pair in pairs])


def _close(store: Store, console: Console, keep: str | None) -> None:
    """Ask nothing more in verdicts that are over: decided, or about a policy or a champion that is no more."""
    for each in store.campaigns():
        if each.is_verdict and each.name != keep and store.version(each.name) == 1:  # closing begins another version
            left = store.waiting(each.name)
            store.close_campaign(each.name)
            if left:
                console.print(f"verdict: nobody is asked for the {left} judgements that {each.name} would still take.")


def _write(run: Run, found: Row) -> Row:
    def produce(folder: Path) -> Mapping[str, Any]:
        write_json(folder / VERDICT, found)
        told = ("outcome", "by", "judgements", "prompts", "win_rate", "interval", "e_value")
        return {name: found[name] for name in told}

    asked = {name: found[name] for name in ("campaign", "candidate", "champion")}  # others may answer the same
    run.stage("verdict", VERDICT, [run.folder / PAIRS], {}, produce, extra=asked)
    made: Row = read_json(run.folder / VERDICT)
    return made
