"""Ship or not, and why: the report's first sentence, from the verdict, the decision about it, and the figures.

People decide. Without their verdict nothing is shipped, whatever an automatic judge says; simulated annotators show
that the loop works, and nothing of what people prefer.
"""

from collections.abc import Iterator
from typing import Any

from foundation.files import Row, read_json
from pipeline.champion.history import BASE, Decision, history
from pipeline.champion.lineage import sources_of
from pipeline.champion.promotion import WHO, length_ratio, limits, spread, verdict_of
from pipeline.config.config import Config
from pipeline.reporting.cautions import evaluation_of
from pipeline.reporting.data import Evidence, Rate, Shipping, VerdictFigures
from pipeline.runs.folder import Run
from policy.config import OFFLINE
from reward_model.rewards.registry import LEARNED


def shipping_of(run: Run, config: Config, waiting: Row | None = None, never: str | None = None) -> Shipping | None:
    """What is to be said of the round's policy; None before there is one.

    `waiting` is how an open verdict stands, `never` why none could ever be decided.
    """
    if run.record("policy") is None:
        return None
    verdict, decision = verdict_figures(run), decision_about(run)
    outcome, sentence = _sentence(run, verdict, decision, waiting, never)
    return Shipping(outcome=outcome, sentence=sentence, evidence=tuple(_evidence(run, config, verdict)))


def verdict_figures(run: Run) -> VerdictFigures | None:
    """The round's verdict if it is decided, and about the round's present policy."""
    path = verdict_of(run)
    if path is None:
        return None
    found = read_json(path)
    low, high = found["interval"]
    names = ("by", "judgements", "prompts", "wins", "ties", "both_bad", "losses", "win_rate")
    judges = tuple(
        Rate(name=name, value=each["win_rate"], low=each["interval"][0], high=each["interval"][1],
             n=each.get("prompts", 0),  # earlier verdicts do not say
             simulated=name.startswith("simulated"))
        for name, each in found.get("judges", {}).items()
    )  # fmt: skip
    return VerdictFigures(
        **{name: found[name] for name in names}, low=low, high=high, late=found.get("late", 0), judges=judges,
        opponent=_called(found["champion"]["name"]),
    )  # fmt: skip


def decision_about(run: Run) -> Decision | None:
    """The last decision about the round's present policy."""
    tuned = run.record("policy")
    about = [each for each in history(run) if tuned and each.is_about(tuned.output_sha256)]
    return about[-1] if about else None


def decided_in_a_word(run: Run) -> str:
    """What was decided last about the round's present policy; nothing before anything was."""
    tuned, decision = run.record("policy"), decision_about(run)
    if decision is None or tuned is None:
        return ""
    return "restored" if decision.restores(tuned.output_sha256) else decision.action.replace("_", " ")


def told_of(decision: Decision) -> str:
    """A decision as a line of the history."""
    again = f"was taken back, and {_called(decision.champion)} is the champion again"
    done = {"promoted": "became champion", "kept": "was not promoted", "rolled_back": again}[decision.action]
    return f"{decision.at[:10]}: {_called(decision.candidate or BASE)} {done}: {decision.reason}."


def how_far(waiting: Row) -> str:
    """How an open verdict stands."""
    return f"open: {waiting['judgements']} judgements, and about {waiting['expected_more'] or 0} more"


def _sentence(
    run: Run, verdict: VerdictFigures | None, decision: Decision | None, waiting: Row | None, never: str | None
) -> tuple[Any, str]:
    word = decided_in_a_word(run)
    if decision is not None and word == "restored":
        return "ship", f"it was made champion again by hand: {decision.reason}."
    if decision is not None and word == "rolled back":
        return "do not ship", f"it was taken back: {decision.reason}."
    if decision is not None and decision.action == "kept":
        return "do not ship", f"{decision.reason}."
    if decision is not None and decision.by == "people":
        return "ship", f"{decision.reason}."
    if decision is not None and decision.by == "hand":
        return "ship", f"it was made champion by hand: {decision.reason}."
    if verdict is not None and verdict.by == "nobody":
        return "do not ship", f"no person has judged it, and no program: {verdict.said}."
    if verdict is not None and verdict.by == "mixed":
        return "do not ship", f"people have judged it only in part, simulated annotators the rest ({verdict.said})."
    if verdict is not None and verdict.by == "simulated":
        preferred = "preferred it" if decision is not None else "were asked about it"
        return "do not ship", f"no person has judged it. Simulated annotators {preferred} ({verdict.said})."
    if verdict is not None:
        return "not decided", f"people have judged it; `rlhf promote --run {run.argument}` decides."
    if waiting is not None:
        return (
            "not decided",
            f"the comparison with {_called(waiting['champion']['name'])} is {how_far(waiting)} until it decides.",
        )
    if never:
        return "not decided", f"nobody has compared it with {_opponent(run)}: {never}"
    return (
        "not decided",
        f"nobody has compared it with {_opponent(run)}: `rlhf verdict --run {run.argument}` asks people.",
    )


def _evidence(run: Run, config: Config, verdict: VerdictFigures | None) -> Iterator[Evidence]:
    if verdict is not None:
        yield Evidence(
            name=WHO.get(verdict.by, "nobody").capitalize(), said=f"against {verdict.opponent}: {verdict.said}"
        )
        for judge in verdict.judges:
            rate = _rate(judge.value, judge.low, judge.high)
            of = f"{judge.n} of the same pairs" if judge.n else "the same pairs"
            yield Evidence(name=f"By the {judge.name}", said=f"on {of}, {rate}")
    path = evaluation_of(run)
    if path is not None:
        yield from _of_evaluation(run, read_json(path), config)
    tuned = run.record("policy")
    if tuned and (reward := sources_of(run, tuned).reward) is not None:
        figures = reward.figures
        if "judge_gain" in tuned.figures:
            gain, low, high = (tuned.figures[name] for name in ("judge_gain", "judge_low", "judge_high"))
            yield Evidence(
                name="Held-out judge",
                said=f"a gain of {gain:.2f} standard deviations (95% interval {low:.2f} to {high:.2f}) by a head on "
                "the base that was fitted on labels which the reward model never saw",
            )
        right = _rate(figures["accuracy"], figures["accuracy_low"], figures["accuracy_high"])
        yield Evidence(
            name="Reward model",
            said=f"right on {right} of {figures['n']} held-out pairs; the longer response on "
            f"{figures['longer_wins']:.0%}, a bag of words on {figures['bag_of_words']:.0%}",
        )


def _bias(run: Run, judge: str) -> str:
    """What the present policy's training makes of a judge: it overstates what was learned from it."""
    tuned = run.record("policy")
    if tuned is None or judge.startswith("simulated"):
        return ""
    if tuned.basis.config.get("algorithm") in OFFLINE:
        return "; it was tuned on labels that this judge was trained on too, which may overstate"
    used, evaluated = sources_of(run, tuned).reward_sha256, run.record("evaluate")
    judged_by = evaluated.basis.inputs.get(f"{run.folder.name}/reward") if evaluated else None
    if used and judged_by and used != judged_by:
        return "; it was tuned towards an earlier reward model than this judge, which may overstate"
    rewards = [spec["name"] for spec in tuned.basis.config.get("rewards", [])]
    if judge.startswith("reward model") and rewards:
        return "; this judge is a part of what it was tuned towards, which overstates" if LEARNED in rewards else ""
    return "; it was tuned towards this judge, which overstates"


def _of_evaluation(run: Run, evaluation: Row, config: Config) -> Iterator[Evidence]:
    for judge, each in evaluation["sampled"]["win_rates"].items():
        towards = _bias(run, judge)
        rate = f"{_rate(each['win_rate'], each['low'], each['high'])} of {each['n']} held-out prompts"
        yield Evidence(name=f"By the {judge}", said=f"it wins {rate} against the base{towards}")
    limit, kl = limits(config)["kl"], evaluation["mean_kl"]
    within = f"; the limit is {limit:.1f}" if limit else ""
    below = "; below zero by chance: a small value, estimated from samples" if kl < 0 else ""
    yield Evidence(name="KL", said=f"{kl:.2f} nats per response from the base{spread(evaluation, 'kl')}{within}{below}")
    yield Evidence(
        name="Length", said=f"{length_ratio(evaluation):.2f} times the words of the base{spread(evaluation, 'length')}"
    )
    yield Evidence(name="Variety", said=f"distinct-2 is {evaluation['distinct2_ratio']:.2f} times the base's")


def _rate(value: float, low: float, high: float) -> str:
    return f"{value:.0%} (95% interval {low:.0%} to {high:.0%})"


def _called(name: str) -> str:
    return "the base" if name == BASE else f"the policy of round {int(name.removeprefix('round-'))}"


def _opponent(run: Run) -> str:
    decided = [each for each in history(run) if each.round < run.round]
    return _called(decided[-1].champion if decided else BASE)
