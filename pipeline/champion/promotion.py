"""What a candidate must show to become champion: a verdict for it, and that it keeps within its limits.

The verdict says whether people prefer it. A policy may win it by a shortcut, or forget what it was not asked about; so
its KL and its length must be within bounds, and of likelihood and format a loss beyond the limit must be ruled out:
the whole 95% interval lies above it. Pure functions of figures; nothing is measured here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foundation.files import read_json
from pipeline.champion.history import Champion
from pipeline.config.config import Config
from pipeline.runs.folder import Run

VERDICT = "verdict.json"
BETTER, NOT_BETTER, OPEN = "better", "not_better", "open"
WHO = {"people": "people", "simulated": "simulated annotators", "mixed": "people and simulated annotators together"}
"""Who voted in a verdict, in words, where anybody did."""
_KL_MARGIN = 1.5
"""How far KL may exceed the target of the training: its estimate on held-out prompts is noisy, and a little higher."""

Figures = Mapping[str, Any]


def verdict_of(run: Run) -> Path | None:
    """The round's verdict.json if it is decided, and about the round's present policy."""
    path, tuned = run.folder / VERDICT, run.record("policy")
    if tuned is None or not path.is_file():
        return None
    found = read_json(path)
    return path if found["outcome"] != OPEN and found["candidate"]["sha256"] == tuned.output_sha256 else None


def limits(config: Config) -> dict[str, Any]:
    """The limits that hold, by name; `kl` is None where there is none."""
    target = config.policy.kl_target
    kl = config.promotion.kl or (_KL_MARGIN * target if target else None)
    return config.promotion.model_dump(mode="json") | {"kl": kl}


def against(verdict: Figures, champion: Champion, run: Run) -> list[str]:
    """What speaks against a candidate whatever else is measured: it was not preferred, or to somebody else."""
    opponent = verdict["champion"]
    if opponent["sha256"] != champion.sha256:
        return [
            f"it was compared with {opponent['name']}, and the champion is {champion.name} now: open a new comparison "
            f"by `rlhf verdict --run {run.argument}`"
        ]
    if verdict["outcome"] == BETTER:
        return []
    if verdict["outcome"] == NOT_BETTER and verdict["by"] == "nobody":
        return [f"it is not better than {champion.name}, which was {without_judge(verdict)}"]
    if verdict["outcome"] == NOT_BETTER:
        return [f"{_who(verdict)} did not find it better than {champion.name} ({_rate(verdict)})"]
    told = without_judge(verdict) if verdict["by"] == "nobody" else _rate(verdict)
    return [f"the comparison with {champion.name} ended undecided ({told})"]


def beyond(limits: Figures, evaluation: Figures, capability: Figures) -> list[str]:
    """Which limits it goes beyond, each with its figure."""
    found = []
    if limits["kl"] is not None and evaluation["mean_kl"] > limits["kl"]:
        found.append(
            f"its KL of {evaluation['mean_kl']:.1f} nats per response{spread(evaluation, 'kl')} is beyond "
            f"{limits['kl']:.1f}"
        )
    (low, high), ratio = limits["length"], length_ratio(evaluation)
    if not low <= ratio <= high:
        found.append(
            f"its responses are {ratio:.2f} times as long as the base's{spread(evaluation, 'length')}, beyond "
            f"{low:g} to {high:g}"
        )
    for name, said in (("likelihood", "nats per token on general text"), ("format", "of sound responses")):
        if capability[name]["low"] < -limits[name]:
            found.append(
                f"a loss of more than {limits[name]:g} {said} cannot be ruled out ({_difference(capability[name])})"
            )
    return found


def kept_to(verdict: Figures, evaluation: Figures, capability: Figures) -> str:
    """Why a candidate is promoted, in one sentence."""
    return (
        f"{_who(verdict)} preferred it to {verdict['champion']['name']} ({_rate(verdict)}); KL "
        f"{evaluation['mean_kl']:.1f} nats per response{spread(evaluation, 'kl')}, length "
        f"{length_ratio(evaluation):.2f} times the base's{spread(evaluation, 'length')}, "
        f"likelihood of general text {_difference(capability['likelihood'])} nats per token, sound responses "
        f"{_difference(capability['format'])}"
    )


def length_ratio(evaluation: Figures) -> float:
    """Words per sampled response, as a ratio to the base's."""
    words = {who: found["words"] for who, found in evaluation["sampled"]["measures"].items()}
    return float(words["policy"] / max(words["base"], 1e-9))


def spread(evaluation: Figures, name: str) -> str:
    """In words, the 95% interval over prompts of the mean KL ("kl") or the ratio of lengths ("length"), where it is
    known: evaluations of earlier versions, and those on one prompt, have none. Limits are held by the means.
    """
    interval = evaluation["sampled"].get(f"{name}_interval")
    return f" (95% interval {interval[0]:.2f} to {interval[1]:.2f})" if interval else ""


def without_judge(verdict: Figures) -> str:
    """How a verdict came about in which nobody voted."""
    settled = verdict["settled"]
    empty = sum(number for why, number in settled.items() if why != "identical")
    return f"decided without a judge: {settled.get('identical', 0)} identical, {empty} empty responses"


def _who(verdict: Figures) -> str:
    return WHO[str(verdict["by"])]


def _rate(verdict: Figures) -> str:
    low, high = verdict["interval"]
    return (
        f"win rate {verdict['win_rate']:.0%}, 95% interval {low:.0%} to {high:.0%}, {verdict['judgements']} judgements "
        f"of {verdict['prompts']} prompts"
    )


def _difference(figure: Figures) -> str:
    return f"{figure['difference']:+.3f}, 95% interval {figure['low']:+.3f} to {figure['high']:+.3f}"
