"""Where a run stands: what it waits for, who has to do what, and the command that goes on.

All of it is read from what is there: manifests, the label store, the lock, and what an interrupted stage left. Nothing
is made, no model is loaded, and no lock is taken, so it may be asked at any time.
"""

import re
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from foundation.files import Row
from pipeline.acquisition import keeping
from pipeline.champion import history as past
from pipeline.champion import promotion
from pipeline.inspection.facts import Facts
from pipeline.preflight.reward_gate import is_weak
from pipeline.reporting.cautions import evaluation_of, export_of
from pipeline.runs.folder import Run
from policy.training_log import LOG


class Step(NamedTuple):
    """What comes next: the run's `state` in a word or two, what it `waits_for`, `who` has to act, by which command."""

    state: str
    waits_for: str
    who: str
    next: str


def next_step(facts: Facts) -> Step:
    """The one thing to do next."""
    return _at_work(facts) or _labeling(facts) or _training(facts) or _judging(facts) or _finished(facts)


def show(facts: Facts, console: Console, *, as_json: bool = False) -> None:
    """Print one screen, or with `as_json` the same for programs."""
    step, lines = next_step(facts), described(facts)
    if as_json:
        console.print_json(data={"run": str(facts.run.path), "round": facts.run.round, **step._asdict(), **lines})
        return
    table = Table(title=f"{facts.run.path}, round {facts.run.round}: {step.state}", title_justify="left",
                  show_header=False, box=None)  # fmt: skip
    for name, said in (lines | {"waits for": step.waits_for, "who": step.who}).items():
        table.add_row(name.replace("_", " "), Text(said))
    console.print(table)
    console.print(f"next: {step.next}", markup=False, highlight=False, soft_wrap=True)


def described(facts: Facts) -> dict[str, str]:
    """What there is, a line each: champion, labels, reward model, policy, verdict, the last decision."""
    labels, reward, evaluated = facts.labels, facts.made.get("reward"), facts.made.get("evaluate")
    lines = {"champion": facts.broken or _champion(facts.run)}
    gone = sorted(set(range(facts.run.latest_round())) - set(facts.run.rounds()))
    if gone:
        lines["gone"] = f"{', '.join(f'round-{number:03d}' for number in gone)}: what came from there cannot be traced"
    if labels.tasks or labels.judgements:
        kind = " by simulated annotators" if labels.simulated else ""
        lines["labels"] = f"{labels.judgements} judgements{kind}, {labels.open} open"
    if stuck := keeping.problem(facts.run):
        lines["priorities"] = stuck
    if reward:
        gate = f" ({reward.figures['gate']})" if "gate" in reward.figures else ""
        lines["reward_model"] = f"{reward.figures['accuracy']:.1%} right on {reward.figures['n']} held-out pairs{gate}"
    if evaluated and evaluation_of(facts.run):
        found = evaluated.figures
        lines["policy"] = (
            f"beats the base on {found['win_rate']:.0%} of {found['n']} prompts, says the {found['judge']}; "
            f"KL {found['mean_kl']:.1f} nats per response"
        )
    if facts.verdict and facts.verdict["win_rate"] is not None:
        low, high = facts.verdict["interval"]
        lines["verdict"] = (
            f"{facts.verdict['outcome'].replace('_', ' ')} than {facts.verdict['champion']['name']}"
            if facts.verdict["outcome"] in (promotion.BETTER, promotion.NOT_BETTER)
            else str(facts.verdict["outcome"])
        ) + f": win rate {facts.verdict['win_rate']:.0%} ({low:.0%} to {high:.0%}), by {_judges(facts.verdict)}"
    if decided := past.history(facts.run):
        last = decided[-1]
        lines["decided"] = f"{last.action.replace('_', ' ')}, {last.at[:10]}: {last.reason}"
    return lines


# --- the steps, the first that applies ---


def _at_work(facts: Facts) -> Step | None:
    stage = facts.unfinished
    if facts.running:
        state = f"{stage} running" if stage else "running"
        return Step(state, f"{facts.running}{_steps(facts)}", "nobody", facts.command("status"))
    if stage:
        doing = f"{stage}, which was interrupted{_steps(facts)}"
        return Step("killed", doing, "you: the same command goes on from there", _again(facts, stage))
    if facts.broken:
        back = facts.command("rollback", "--reason", '"..."')
        return Step("champion gone", "a champion that can be used", "you: put it back, or choose another", back)
    return None


def _labeling(facts: Facts) -> Step | None:
    labels, begun = facts.labels, facts.made.keys() & {"reward", "policy"}
    if not facts.people or begun:
        return None
    nothing = not labels.tasks and not labels.judgements
    if nothing or (facts.run.round and "collect" not in facts.made):
        bring = facts.command("import", "--format", "FORMAT", "FILE")
        return Step("nothing", "responses to judge", f"you, or bring judgements: `{bring}`", facts.command("collect"))
    if labels.open:
        state = "half judged" if labels.judgements else "collected"
        who = f"annotators: `{facts.command('users invite')}` lets them in"
        return Step(state, f"{labels.open} judgements", who, facts.command("label", simulate=True))
    return None


def _training(facts: Facts) -> Step | None:
    reward = facts.made.get("reward")
    if facts.config.learned_reward and reward is None:
        return Step("judged", "a reward model", "you", facts.command("reward"))
    if "policy" not in facts.made:
        if reward and is_weak(reward, facts.config):
            return _weak(facts, str(reward.figures.get("gate_reason", "it is no better than its controls")))
        state = "rewarded" if reward else "judged" if facts.labels.judgements else "nothing"
        return Step(state, "a policy", "you", facts.command("policy"))
    if evaluation_of(facts.run) is None:
        return Step("tuned", "a comparison with the base", "you", facts.command("evaluate"))
    return None


def _weak(facts: Facts, reason: str) -> Step:
    accept = f"or accept it: `{facts.command('policy', '--accept-weak-reward')}`"
    if facts.labels.open:
        return Step("reward weak", f"more judgements: {reason}", f"annotators, {accept}", facts.command("label"))
    if facts.new_labels:
        return Step("judged", "a reward model of the labels that came since", f"you, {accept}", facts.command("reward"))
    more = f"collect.candidates={2 * facts.config.collect.candidates}"
    return Step("reward weak", f"more judgements: {reason}", f"you, {accept}", facts.command("collect", "--set", more))


def _judging(facts: Facts) -> Step | None:
    verdict, decision = facts.verdict, facts.decision
    if decision is not None:
        return None
    if verdict is None and not (facts.people and facts.config.verdict.enabled and not too_few_prompts(facts)):
        return None
    if verdict is None:
        return Step("evaluated", "a comparison with the champion, blind", "you", facts.command("verdict"))
    if verdict["outcome"] == promotion.OPEN:
        more = f"about {verdict['expected_more']} judgements of the policy"
        return Step("verdict open", more, "annotators", facts.command("label", simulate=True))
    if promotion.verdict_of(facts.run) is None:
        return Step("verdict complete", "the decision", "you", facts.command("verdict"))
    if verdict["outcome"] == promotion.BETTER:
        return Step("won", "its promotion", "you", facts.command("promote"))
    return Step("lost", "the next round, from the champion", "you", _next_round(facts))


def _finished(facts: Facts) -> Step:
    decision = facts.decision
    states = {"promoted": "promoted", "kept": "lost", "rolled_back": "rolled back"}
    state = states[decision.action] if decision else "tuned"
    if decision and decision.restores(facts.made["policy"].output_sha256):
        state = "promoted"
    if state in ("tuned", "promoted") and export_of(facts.run) is None:
        return Step(state, "the adapter as a PEFT folder", "you", facts.command("export"))
    start = f"the next round, from {past.current(facts.run).name if decision else 'the last policy'}"
    return Step(state, f"nothing, or {start}" if state in ("tuned", "promoted") else start, "you", _next_round(facts))


def _next_round(facts: Facts) -> str:
    return facts.command("loop", "--rounds", str(facts.run.round + 2), simulate=True)


def too_few_prompts(facts: Facts) -> bool:
    """Whether the held-out prompts could never decide a verdict."""
    from pipeline.verdict.pairs import why_never_decided

    return why_never_decided(facts.run, facts.config) is not None


def _judges(verdict: Row) -> str:
    """Who has voted so far."""
    return promotion.WHO.get(verdict["by"], "nobody")


def _champion(run: Run) -> str:
    champion = past.current(run)
    weights = past.weights_of(champion)
    return f"{champion.name} (weights {weights[:12]})" if weights else champion.name


def _steps(facts: Facts) -> str:
    log = facts.run.folder / ".policy.partial" / LOG
    if facts.unfinished != "policy" or not log.is_file():
        return ""
    done = log.read_bytes().count(b"\n")
    return f" ({done} of {facts.config.policy.steps} steps)"


def _again(facts: Facts, stage: str) -> str:
    """The command that was interrupted, as it was typed, where that is known; else the stage's own."""
    typed = re.match(r'"(rlhf (\S+) .*)" \(process \d+\)$', facts.run.lock.last())
    if typed and typed[2] in ("loop", stage) and len(typed[1]) < facts.run.lock.REMEMBERED:
        return typed[1]
    own: dict[str, Any] = {"capability": "promote", "verdict-pairs": "verdict", "preferences": "reward",
                           "other_labels": "reward", "prompts": "loop"}  # fmt: skip
    return facts.command(own.get(stage, stage))
