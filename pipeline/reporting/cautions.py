"""What must be said beside a round's figures, each in a sentence: not evaluated, nothing learned, nothing told apart.

The terminal, the report and the model card say the same. Alarms, which watch the training, are in `policy/alarms.py`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backbone.loading.saved_weights import changes_nothing, same_weights
from foundation.files import Row, read_json, read_rows
from pipeline.champion.history import history
from pipeline.champion.lineage import decided_on, sources_of
from pipeline.runs.folder import Run
from pipeline.runs.manifest import StageRecord
from policy.alarms import JUDGE
from policy.model_card import words_ratio
from policy.training_log import LOG

SHORTEST, LONGEST = 0.6, 1.6  # times the base's length
ALIKE = 0.9  # of the base's distinct-2
_BEYOND = 1.3  # times the target, measured on few responses
_STILL = 1e-6
"""Nats and standard deviations of scores that are nothing but rounding."""


def of_policy(run: Run, initial: Path | None) -> list[str]:
    """Whether the round's adapter changes anything; `initial` is what its training began with."""
    folder, made = run.folder / "policy", run.record("policy")
    found = [*_kept(run, made.figures), *_moved(made.figures)] if made else []
    if changes_nothing(folder):
        found.append("The adapter equals its base: its weights are zero, so it answers exactly as the base does.")
    elif initial and initial.is_dir() and same_weights(folder, initial):
        found.append("The adapter equals the one that its training began with: nothing was learned.")
    log = read_rows(folder / LOG) if (folder / LOG).is_file() else []
    flat = sum(_nothing(row.get("score_spread")) for row in log)
    if log and flat >= len(log) / 2:
        found.append(
            f"In {flat} of {len(log)} steps all responses to a prompt had the same score: the reward told none apart."
        )
    if not found and len(log) > 1 and _nothing(log[-1].get("kl")):
        found.append(
            f"At the last of {len(log)} steps the policy had not moved from the base (a KL of 0): "
            "policy.learning_rate may be too low."
        )
    return found


def of_evaluation(run: Run) -> list[str]:
    """Whether the comparison is of this policy, and whether it told the two apart."""
    path = evaluation_of(run)
    if path is None:
        stale = ": the one in evaluation.json was of another" if (run.folder / "evaluation.json").exists() else ""
        return [f"This policy has not been evaluated{stale}. Nothing shows how it compares with its base."]
    found = read_json(path)
    modes = [found["sampled"], found["greedy"]]
    if all(pair["base"] == pair["policy"] for mode in modes for pair in mode["pairs"]):
        return ["Policy and base gave the same response to every held-out prompt: nothing shows that they differ."]
    pairs = [pair for mode in modes for pair in mode["pairs"]]
    return [
        *_exploits(run, found),
        *_below_zero(found),
        *(
            f"The {judge} gave every response the same score: its win rate says nothing."
            for judge in pairs[0]["scores"]
            if len({score for pair in pairs for score in pair["scores"][judge].values()}) == 1
        ),
    ]


def of_reward(figures: Row) -> list[str]:
    """Whether the reward model tells any two responses apart."""
    if figures.get("same_score") == 1:
        return ["The reward model gives both responses of every held-out pair the same score: it has learned nothing."]
    if figures.get("gate") == "weak":
        return [f"The reward model is weak. {figures['gate_reason']}"]
    return []


def of_decision(run: Run) -> list[str]:
    """Whether the round's policy was kept back, or taken back, as the champion."""
    tuned = run.record("policy")
    own = [each for each in history(run) if tuned and each.is_about(tuned.output_sha256)]
    if not own or not tuned or own[-1].action == "promoted" or own[-1].restores(tuned.output_sha256):
        return []
    kept = own[-1].action == "kept"
    why = "It was not promoted" if kept else f"It was taken back, and {own[-1].champion} is the champion"
    return [f"{why}: {own[-1].reason}."]


def of_round(run: Run, initial: Path | None) -> list[str]:
    """Everything that is to be said of what the round has made so far.

    Where there is a policy, the reward model is the one that it was tuned towards.
    """
    policy, reward = run.record("policy"), run.record("reward")
    if policy is None or not (run.folder / "policy").is_dir():
        return of_reward(reward.figures) if reward else []
    used = sources_of(run, policy).reward
    return [
        *of_decision(run),
        *(of_reward(used.figures) if used else []),
        *_of_another_reward(run, policy),
        *of_policy(run, initial),
        *of_evaluation(run),
    ]


def told_and_decided(run: Run, told: Sequence[str]) -> dict[str, list[Any]]:
    """What a card and a lineage say beside their figures, wherever the run lies: an export depends on it."""
    tuned = run.record("policy")
    decided = decided_on(run, tuned) if tuned else []
    sentences = [each.replace(f"--run {run.argument}", "--run RUN") for each in told]
    return {name: said for name, said in (("what is told", sentences), ("what was decided", decided)) if said}


def evaluation_of(run: Run) -> Path | None:
    """The round's evaluation.json if it is about the round's present policy."""
    path = run.folder / "evaluation.json"
    return path if path.is_file() and _is_of_policy(run, "evaluate") else None


def export_of(run: Run) -> Path | None:
    """The round's export/ if it is the round's present policy."""
    path = run.folder / "export"
    return path if path.is_dir() and _is_of_policy(run, "export") else None


def of_export(run: Run) -> list[str]:
    """Whether export/ holds another policy than the one that everything else is about."""
    if not (run.folder / "export").is_dir() or export_of(run) or run.record("policy") is None:
        return []
    return [f"The adapter in export/ is another policy's: this one is in policy/. `rlhf export --run {run.argument}`."]


def _is_of_policy(run: Run, stage: str) -> bool:
    """Whether the stage's output was made from the round's present policy."""
    made, tuned = run.record(stage), run.record("policy")
    if made is None or tuned is None:
        return False
    return made.basis.inputs.get(f"{run.folder.name}/policy") == tuned.output_sha256


def _of_another_reward(run: Run, policy: StageRecord) -> list[str]:
    """Whether the policy was tuned towards another reward model than the round has now."""
    used, now = sources_of(run, policy), run.record("reward")
    if used.reward_sha256 is None or (now and now.output_sha256 == used.reward_sha256):
        return []
    since = "made anew" if now else "taken away"
    found = [f"The reward model was {since} after this policy was tuned towards an earlier one."]
    if used.reward is None:
        found.append(
            f"The reward model that this policy was tuned towards (sha256 {used.reward_sha256}) is no longer in the "
            "run: how good it was, and on which labels it was trained, is not known."
        )
    evaluated = run.record("evaluate")
    judge = evaluated.basis.inputs.get(f"{run.folder.name}/reward") if evaluated and evaluation_of(run) else None
    if judge is not None and judge != used.reward_sha256:
        found.append("Win rates by the reward model are by a later one than this policy was tuned towards.")
    return found


def _moved(figures: Row) -> list[str]:
    """Whether the adapter is weaker than it was trained, because its KL was above the target."""
    if "adapter_scale" not in figures:
        return []
    return [
        f"Training ended above the target of the KL: the adapter was scaled by {figures['adapter_scale']:.2f}, which "
        f"leaves {figures['kl_kept']:.1f} nats per response."
    ]


def _kept(run: Run, figures: Row) -> list[str]:
    """Whether the adapter is not that of the last step, and why."""
    if "kept_step" not in figures:
        return []
    kept, ended, stopped = figures["kept_step"], figures["ended_step"], figures.get("stopped", [])
    if not stopped or stopped == [JUDGE]:
        return [
            f"The adapter is that of step {kept}: a judge from labels that the reward model never saw prefers its "
            f"responses to those of step {ended}, {'where training was stopped' if stopped else 'the last'}."
        ]
    began = "is as it began" + (" but for its scale" if "adapter_scale" in figures else "")
    adapter = f"is that of step {kept}, the last checkpoint" if kept else f"{began}, for no checkpoint was before"
    return [
        f"Training was stopped at step {ended} by the alarm {' and '.join(stopped)}. The adapter {adapter}. Read "
        f"`rlhf samples --run {run.argument}` to see what the reward paid for; policy.stop_on names the alarms that "
        "stop."
    ]


def _exploits(run: Run, found: Row) -> list[str]:
    """Whether a gain comes with what exploits of a reward look like: other lengths, sameness, a KL beyond target."""
    sampled, tuned = found["sampled"], run.record("policy")
    if next(iter(sampled["win_rates"].values()))["win_rate"] <= 0.5:
        return []
    words, target = words_ratio(found), tuned.basis.config.get("kl_target") if tuned else None
    signs = []
    if not SHORTEST <= words <= LONGEST:
        signs.append(f"its responses are {words:.2f} times as long as the base's")
    if found["distinct2_ratio"] < ALIKE:
        signs.append(f"they resemble one another (distinct-2 is {found['distinct2_ratio']:.2f} of the base's)")
    if isinstance(target, int | float) and found["mean_kl"] > _BEYOND * target:
        signs.append(f"its KL of {found['mean_kl']:.1f} nats is beyond the target of {target:g}")
    if tuned and tuned.figures.get("judge_high", 0.0) < 0:
        signs.append(
            "a judge from labels that the reward model never saw likes them less than those that training began with"
        )
    if not signs:
        return []
    return [
        f"The policy's gain is likely an exploit of the reward: {', and '.join(signs)}. Read samples before you "
        "believe the win rate."
    ]


def _below_zero(found: Row) -> list[str]:
    if found["mean_kl"] >= 0:
        return []
    return [
        f"The KL of {found['mean_kl']:.2f} is an estimate from {found['prompts']} responses. A KL is never below zero; "
        "the estimate of a small one may be: read it as about 0."
    ]


def _nothing(figure: float | None) -> bool:
    return figure is not None and abs(figure) < _STILL
