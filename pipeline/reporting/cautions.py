"""What must be said beside a round's figures, each in a sentence: not evaluated, nothing learned, nothing told apart.

The terminal, the report and the model card say the same. Alarms, which watch the training, are in `policy/alarms.py`.
"""

from pathlib import Path

from foundation.files import Row, read_json, read_rows
from pipeline.runs.folder import Run
from policy.training_log import LOG

_STILL = 1e-6
"""Nats and standard deviations of scores that are nothing but rounding."""


def of_policy(run: Run, initial: Path | None) -> list[str]:
    """Whether the round's adapter changes anything; `initial` is what its training began with."""
    from backbone.adapter_folder import changes_nothing

    folder = run.folder / "policy"
    found = []
    if changes_nothing(folder):
        found.append("The adapter equals its base: its weights are zero, so it answers exactly as the base does.")
    elif initial and initial.is_dir() and _same_weights(folder, initial):
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
        f"The {judge} gave every response the same score: its win rate says nothing."
        for judge in pairs[0]["scores"]
        if len({score for pair in pairs for score in pair["scores"][judge].values()}) == 1
    ]


def of_reward(figures: Row) -> list[str]:
    """Whether the reward model tells any two responses apart."""
    if figures.get("same_score") == 1:
        return ["The reward model gives both responses of every held-out pair the same score: it has learned nothing."]
    return []


def of_round(run: Run, initial: Path | None) -> list[str]:
    """Everything that is to be said of what the round has made so far."""
    reward, policy = run.record("reward"), run.record("policy")
    made = policy is not None and (run.folder / "policy").is_dir()
    return [
        *(of_reward(reward.figures) if reward else []),
        *(of_policy(run, initial) if made else []),
        *(of_evaluation(run) if made else []),
    ]


def evaluation_of(run: Run) -> Path | None:
    """The round's evaluation.json if it is about the round's present policy."""
    evaluated, tuned, path = run.record("evaluate"), run.record("policy"), run.folder / "evaluation.json"
    if evaluated is None or tuned is None or not path.is_file():
        return None
    return path if evaluated.basis.inputs.get(f"{run.folder.name}/policy") == tuned.output_sha256 else None


def _nothing(figure: float | None) -> bool:
    return figure is not None and abs(figure) < _STILL


def _same_weights(one: Path, other: Path) -> bool:
    import torch

    from backbone.adapter_folder import read_adapter

    first, second = read_adapter(one)[1], read_adapter(other)[1]
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
