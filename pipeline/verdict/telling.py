"""What the terminal says of a verdict: what to expect before anybody judges, how it stands, and what it came to."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from foundation.files import Row
from foundation.intervals import cases_needed
from pipeline.champion.promotion import without_judge
from pipeline.runs.folder import Run
from pipeline.verdict.forecast import RATES, expected_at
from pipeline.verdict.pairs import settled, settled_counts
from pipeline.verdict.standing import Plan

_OUTCOMES = {
    "better": "the candidate is better than {champion}",
    "not_better": "the candidate is not better than {champion}",
    "undecided": "undecided, with every prompt used that could decide; nothing is promoted on it",
}


def opened(console: Console, plan: Plan, pairs: Sequence[Row]) -> None:
    """How many judgements a verdict will take, at several rates that may be true."""
    asked = [pair for pair in pairs if not settled(pair)]
    counts = settled_counts(pairs)
    if counts:
        told = ", ".join(f"{number} {why}" for why, number in counts.items())
        _say(console, f"verdict: nobody has to judge {len(pairs) - len(asked)} of {len(pairs)} pairs ({told}).")
    judged = f"by {plan.judges} people each" if plan.judges > 1 else "by one person each"
    _say(console, f"verdict: {len(asked)} pairs against {_named(plan.champion)}, sides hidden, {judged}.")
    for rate in RATES:
        expected = expected_at(rate, len(asked), plan.judges, plan.alpha, plan.margin)
        _say(
            console,
            f"verdict: if {rate:.0%} of preferences are for the candidate, about {expected.judgements:.0f} judgements; "
            f"they decide in {expected.decided:.0%} of cases.",
        )


def promotion_needs(console: Console, limit: float, prompts: int) -> None:
    """Whether a win could not be followed by a promotion: on so few prompts no loss of form can be ruled out."""
    needed = cases_needed(limit)
    if prompts < needed:
        _say(
            console,
            f"verdict: even if people prefer it, it will not be promoted unless its responses are sounder than the "
            f"champion's: on {prompts} evaluated prompts a loss of more than {limit:g} of sound responses "
            f"(promotion.format) cannot be ruled out where there is none, on {needed} it can. Hold out {needed} or "
            f"more, with evaluate.prompts={needed} or more, or raise promotion.format.",
        )


def waits(console: Console, run: Run, found: Row) -> None:
    """How an open verdict stands, and what it waits for."""
    if found["judgements"]:
        _say(console, f"verdict: open. {_evidence(found)}")
        for each in found["by_annotator"]:
            name = each["program"] or each["annotator"]
            _say(console, f"verdict:   {name}: {each['judgements']} judgements")
    _say(console, f"The verdict waits for about {found['expected_more']} judgements: rlhf label --run {run.argument}")


def decided(console: Console, run: Run, found: Row) -> None:
    """What the verdict came to."""
    outcome = _OUTCOMES[found["outcome"]].format(champion=_named(found["champion"]))
    _say(console, f"verdict: {outcome}. {_evidence(found)}")
    if found["by"] == "nobody":
        _say(console, f"verdict: {without_judge(found)}; nobody was asked.")
    if found["by"] == "mixed":
        programs = sum(each["judgements"] for each in found["by_annotator"] if each["program"])
        _say(console, f"verdict: {programs} of these judgements are by SIMULATED annotators, and not by people.")
    if found["by"] == "simulated":
        _say(console, "verdict: by SIMULATED annotators with a programmed preference; no person was asked.")
    if found["late"]:
        _say(console, f"verdict: {found['late']} judgements came too late; they are kept and do not count.")
    _say(console, f"verdict: {run.folder / 'verdict.json'}")


def _named(champion: Mapping[str, Any]) -> str:
    return "the base" if champion["name"] == "base" else str(champion["name"])


def _evidence(found: Row) -> str:
    low, high = found["interval"]
    return (
        f"{found['judgements']} judgements on {found['prompts']} prompts: win rate {found['win_rate']:.1%} (95% at any "
        f"look {low:.1%} to {high:.1%}), {found['wins']} wins, {found['ties']} ties, {found['both_bad']} both bad, "
        f"{found['losses']} losses; e-value {found['e_value']:.3g} of the {1 / found['alpha']:.0f} that decide."
    )


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
