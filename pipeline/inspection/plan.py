"""What further labels would buy: judged pairs for a more accurate reward model, then judgements for a verdict."""

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from foundation.errors import UserError
from foundation.files import Row, read_json
from pipeline.config.config import Config
from pipeline.runs.folder import Run
from pipeline.verdict.forecast import RATES, expected_at
from pipeline.verdict.pairs import known_prompts
from reward_model.reward_folder import FIGURES

_TIMES = (1, 2, 4, 8)
_STEP, _MOST = 0.05, 0.95


def plan(run: Run, config: Config, accuracy: float | None = None) -> Row:
    """What is known by the latest reward model: `now`, `more`, `needed` for accuracies above it, and `verdict`.

    `UserError` if there is no reward model, or one of too few labels to tell.
    """
    from reward_model.evaluation.learning_curve import LearningCurve

    made = run.record("reward")
    if made is None:
        raise UserError(f"{run.folder} has no reward model to plan by: rlhf reward --run {run.argument}")
    found = made.figures
    known = read_json(run.folder / "reward" / FIGURES).get("learning_curve")
    if not known:
        raise UserError(
            f"the reward model of {run.folder} was trained on too few labels to tell what more would do: it takes 48 "
            "pairs. A model of an earlier version has to be trained anew."
        )
    if accuracy is not None and not 0.5 < accuracy < 1:
        raise UserError(f"--accuracy {accuracy} is a share of pairs, above 0.5 and below 1.")
    learned = known["pairs"]
    judged = learned + found["n"]  # a share of what is judged is held out
    curve = LearningCurve.of_model(known["half"], found, learned)
    asked = [accuracy] if accuracy is not None else _above(found["accuracy"])
    return {
        "round": run.round,
        "now": {"pairs": judged, "accuracy": [found["accuracy"], found["accuracy_low"], found["accuracy_high"]]},
        "more": [{"pairs": times * judged, "accuracy": curve.accuracy(times * learned)} for times in _TIMES[1:]],
        "ceiling": curve.ceiling(),
        "needed": [{"accuracy": each, "pairs": _finite(curve.labels(each), judged / learned)} for each in asked],
        "verdict": _verdict(run, config),
    }


def show(found: Row, console: Console, *, as_json: bool = False) -> None:
    """Print it, or with `as_json` the same for programs."""
    if as_json:
        console.print_json(data=found)
        return
    now = found["now"]
    table = Table(title=f"round {found['round']}: what more labels would do", title_justify="left", box=None)
    for name in ("judged pairs", "right on held-out pairs", "95% interval"):
        table.add_column(name, justify="right")
    for each in (now, *found["more"]):
        table.add_row(f"{each['pairs']:,}" + (" (now)" if each is now else ""), *_shares(each["accuracy"]))
    table.add_row("without end", *_shares(found["ceiling"]))
    console.print(table)
    for each in found["needed"]:
        _say(console, _needed(each["accuracy"], each["pairs"], now["pairs"]))
    asked = found["verdict"]
    if not asked["enabled"]:
        return
    _say(console, f"A verdict by people after it, on {asked['prompts']} held-out prompts, judged once by each of "
         f"{asked['judges']} annotators:" if asked["judges"] > 1 else
         f"A verdict by people after it, on {asked['prompts']} held-out prompts:")  # fmt: skip
    for each in asked["expected"]:
        _say(
            console,
            f"  if {each['rate']:.0%} of preferences are for the policy: about {each['judgements']:.0f} judgements, "
            f"which decide in {each['decided']:.0%} of cases.",
        )


def _verdict(run: Run, config: Config) -> dict[str, Any]:
    settings = config.verdict
    prompts = min(settings.prompts, known_prompts(run, config))
    expected = []
    for rate in RATES if settings.enabled and prompts else ():
        each = expected_at(rate, prompts, settings.judges, settings.alpha, settings.margin)
        expected.append({"rate": rate, "judgements": each.judgements, "decided": each.decided})
    return {"enabled": bool(expected), "prompts": prompts, "judges": settings.judges, "expected": expected}


def _above(accuracy: float) -> list[float]:
    """The next three round shares above this one and above chance."""
    first = (math.floor(max(accuracy, 0.5) / _STEP + 1e-9) + 1) * _STEP
    return [round(first + number * _STEP, 2) for number in range(3) if first + number * _STEP <= _MOST]


def _finite(pairs: Sequence[float], judged: float) -> list[int | None]:
    """Pairs to be judged for so many to learn from; None where there is no such number."""
    return [math.ceil(judged * each) if math.isfinite(each) else None for each in pairs]


def _needed(accuracy: float, pairs: Sequence[int | None], now: int) -> str:
    estimate, low, high = pairs
    if low is None:
        return (
            f"Right in {accuracy:.0%}: out of reach of labels like these; a larger base or clearer guidelines may help."
        )
    span = f"{_more(low, now)} to {'never' if high is None else _more(high, now)}"
    if estimate is None:
        said = "out of reach, if the curve is as it seems"
    elif estimate <= now:
        said, span = "reached already, as far as the held-out pairs tell", f"{span} more pairs"
    else:
        said = f"about {_more(estimate, now)} more pairs"
    return f"Right in {accuracy:.0%}: {said} (95% interval {span})."


def _more(pairs: int, now: int) -> str:
    """To two digits, so that no more is promised than is known."""
    more = max(pairs - now, 0)
    size = 10 ** max(len(str(more)) - 2, 0)
    return f"{-(-more // size) * size:,}"


def _shares(accuracy: Sequence[float]) -> tuple[str, str]:
    return f"{accuracy[0]:.1%}", f"{accuracy[1]:.1%} to {accuracy[2]:.1%}"


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
