"""The pairs of a verdict: candidate and champion answer the same held-out prompts, freshly sampled.

Automatic judges score both responses while the base is loaded; they stand beside the people and decide nothing. Two
responses that are the same are a tie without a judge. Where a response is empty nobody is asked either: it loses if it
is the candidate's, and counts as a tie if it is the champion's, so that nothing is won without a person.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from foundation.errors import UserError
from foundation.files import Row, content_id, write_jsonl
from pipeline.champion.history import Champion
from pipeline.collection.held_out import measurable_conversations
from pipeline.config.config import Config
from pipeline.reporting.cautions import evaluation_of
from pipeline.runs.folder import Run
from pipeline.terminal.progress import progress
from pipeline.verdict.betting import prompts_needed
from reward_model.labels.records import conversation_key

PAIRS = "verdict-pairs.jsonl"
CANDIDATE, CHAMPION = "candidate", "champion"
WORTH = {"identical": 0.5, "candidate is empty": 0.0, "champion is empty": 0.5}
"""What a pair that nobody is asked about counts for the candidate."""


def sample_pairs(
    run: Run, config: Config, console: Console, folder: Path, *,
    candidate: Path, champion: Champion, reward: Path | None, simulated: bool, judged: set[str],
) -> dict[str, Any]:  # fmt: skip
    """Write `folder/verdict-pairs.jsonl`; returns how many pairs, and how many of them nobody has to judge.

    `judged` are the ids of prompts that earlier verdicts used: they come last. `UserError` for too few prompts.
    """
    from backbone.exactness import load_shared_base
    from pipeline.evaluation.comparison import respond
    from pipeline.evaluation.judges import judges_of, unseen_prompts

    base = load_shared_base(config.model, config.dtype, config.device, config.template, config.quantization)
    base.load_adapter(CANDIDATE, candidate)
    if champion.adapter:
        base.load_adapter(CHAMPION, champion.adapter)
    unseen = sorted(unseen_prompts(run, config, base, console), key=lambda row: row["id"] in judged)
    asked = one_of_each_conversation(unseen)
    if len(asked) < len(unseen):
        console.print(
            f"verdict: {len(unseen) - len(asked)} prompts are left out: others of their conversations are asked."
        )
    asked = asked[: config.verdict.prompts]
    check_enough(run, config, len(asked))
    scored = reward is not None or not config.learned_reward
    judges = judges_of(config, base, asked, reward, simulated)[0] if scored else {}
    seed = int(content_id("verdict", config.seed, run.round), 16) % 2**32
    adapters = {CANDIDATE: CANDIDATE, CHAMPION: CHAMPION if champion.adapter else None}
    kept = _kept_for(folder, config, asked)
    with progress(console, "verdict", 2 * len(asked)) as advance:
        answers = {
            who: respond(base, name, asked, config.evaluate.sampling, kept / f"{who}.jsonl", seed, advance)
            for who, name in adapters.items()
        }
    scores = {
        judge: {who: score(asked, answered) for who, answered in answers.items()} for judge, score in judges.items()
    }
    rows = [
        {
            "prompt_id": prompt["id"],
            "prompt": prompt["prompt"],
            **({"topic": str(prompt["topic"])} if prompt.get("topic") else {}),
            **{who: answers[who][at]["response"].replace("\0", "") for who in adapters},
            "finish_reason": {who: answers[who][at]["finish_reason"] for who in adapters},
            "scores": {judge: {who: float(found[who][at]) for who in adapters} for judge, found in scores.items()},
        }
        for at, prompt in enumerate(asked)
    ]
    write_jsonl(folder / PAIRS, rows)
    return {"pairs": len(rows), **settled_counts(rows)}


def one_of_each_conversation(prompts: Sequence[Row]) -> list[Row]:
    """The first prompt of each: every bet counts as a new observation, which another of its conversation is not."""
    first: dict[str, Row] = {}
    for row in prompts:
        first.setdefault(conversation_key(row["prompt"]), row)
    return list(first.values())


def _kept_for(folder: Path, config: Config, asked: Sequence[Row]) -> Path:
    """Where responses to these prompts are kept: those of an interrupted opening count only if all would be the same.

    Once opened, a verdict stays as it was, so that the stage depends on neither prompts nor sampling.
    """
    sampling, prompts = config.evaluate.sampling.model_dump(mode="json"), [row["prompt"] for row in asked]
    kept = folder / content_id(config.dtype, sampling, prompts)
    kept.mkdir(exist_ok=True)
    return kept


def settled(row: Row) -> str | None:
    """Why nobody has to judge the pair; None if somebody has."""
    candidate, champion = row[CANDIDATE].strip(), row[CHAMPION].strip()
    if candidate == champion:
        return "identical"
    if not candidate:
        return "candidate is empty"
    return None if champion else "champion is empty"


def settled_counts(rows: Sequence[Row]) -> dict[str, int]:
    """How many pairs nobody has to judge, by the reason."""
    why = [settled(row) for row in rows]
    return {reason: why.count(reason) for reason in WORTH if reason in why}


class TooFewPrompts(UserError):
    """No votes on so few prompts could decide."""


def known_prompts(run: Run, config: Config) -> int:
    """How many prompts can be compared on, as far as is known without a model: held out, and never learned from.

    One of each conversation, as `sample_pairs` takes them.

    What is too long is known where the present policy was evaluated on every prompt that is short enough.
    """
    there, evaluated, prompts = len(measurable_conversations(run)), run.record("evaluate"), run.record("prompts")
    if evaluation_of(run) is None or evaluated is None or prompts is None:
        return there
    now = (prompts.output_sha256, config.collect.max_prompt_tokens, config.evaluate.sampling.max_new_tokens)
    used = evaluated.basis.config
    before = evaluated.basis.inputs.get(f"{run.folder.name}/{prompts.output}")
    same = now == (before, used["max_prompt_tokens"], used["sampling"]["max_new_tokens"])
    fitting = int(evaluated.figures["n"])
    return min(there, fitting) if same and fitting < used["prompts"] else there


def check_enough(run: Run, config: Config, prompts: int) -> None:
    """`TooFewPrompts` if not even a win on every one of these would decide."""
    needed, most = prompts_needed(config.verdict.alpha), config.verdict.prompts
    if most < needed:
        raise TooFewPrompts(
            f"a verdict could never decide on {most} prompts: so many wins in a row may still be chance "
            f"(verdict.alpha={config.verdict.alpha:g}). Set verdict.prompts to {needed} or more."
        )
    if prompts < needed:
        raise TooFewPrompts(
            f"a verdict could never decide on {prompts} held-out prompts of different conversations: so many "
            f"wins in a row may still be chance (verdict.alpha={config.verdict.alpha:g}). Hold out {needed} or "
            "more, and 50 to 200 for a difference that is not extreme: "
            f'more prompts of {run.path} with "split": "held_out", or a larger collect.held_out.'
        )


def why_never_decided(run: Run, config: Config) -> str | None:
    """In words, why no verdict could ever be decided on the round's held-out prompts; None if one could."""
    try:
        check_enough(run, config, known_prompts(run, config))
    except TooFewPrompts as reason:
        return str(reason)
    return None
