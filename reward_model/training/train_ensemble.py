"""Train an ensemble: members that begin from other random adapter weights and see the labels in another order.

All are measured on the same held-out prompts. How their scores are joined is in `reward_model/ensemble.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from backbone.loading.settings import Quantization
from backbone.templates.plain_text import TemplateChoice
from foundation.files import content_id, read_json, write_json
from reward_model.config import RewardConfig
from reward_model.ensemble import FILE, joint_figures, load_members, member_folder
from reward_model.labels.records import Row
from reward_model.labels.selection import select
from reward_model.labels.splits import split_by_conversation
from reward_model.reward_folder import FIGURES
from reward_model.training.processes import Processes
from reward_model.training.train import train_reward


def train_ensemble(
    config: RewardConfig,
    model: str,
    rows: Sequence[Row],
    folder: Path,
    *,
    seed: int = 0,
    dtype: str = "auto",
    device: str = "auto",
    template: TemplateChoice = "auto",
    quantization: Quantization | None = None,
    on_step: Callable[[Mapping[str, Any]], None] = lambda row: None,
) -> dict[str, Any]:
    """Train `config.ensemble` reward models, the first into `folder` itself; returns the first one's figures.

    With more than one, the figures have `ensemble_accuracy` (of the mean score) and `ensemble_seconds` (all trainings).
    Members that a killed call had finished are not trained again.
    """
    count = config.ensemble
    alone = config.model_copy(update={"ensemble": 1, "learn": config.learn if count == 1 else "adapter"})
    if count == 1:
        return train_reward(
            alone, model, rows, folder, seed=seed, dtype=dtype, device=device, template=template,
            quantization=quantization, on_step=on_step,
        )  # fmt: skip
    measured_on = select(alone, rows, seed).test
    train, test = split_by_conversation(rows, config.held_out, seed)  # the same for all, whatever their own seeds
    basis = content_id(config.model_dump(mode="json"), model, template, seed, [dict(row) for row in rows])
    processes = Processes.launched()
    if processes.is_main and (not (folder / FILE).is_file() or read_json(folder / FILE).get("basis") != basis):
        write_json(folder / FILE, {"basis": basis, "finished": 0})
    processes.wait()
    finished = read_json(folder / FILE)["finished"]
    figures: list[dict[str, Any]] = []
    for number in range(count):
        path = member_folder(folder, number)
        if number >= finished:

            def shown(row: Mapping[str, Any], before: int = number) -> None:
                if "phase" in row:
                    on_step({**row, "phase": f"{row['phase']} {before + 1}"})
                    return
                on_step({**row, "step": row["step"] + before * row["steps"], "steps": count * row["steps"]})

            train_reward(
                alone, model, train, path, seed=seed + number, dtype=dtype, device=device, template=template,
                quantization=quantization,
                held_out=test, on_step=shown,
            )  # fmt: skip
            if processes.is_main:
                write_json(folder / FILE, {"basis": basis, "finished": number + 1})
        if processes.is_main:
            figures.append(read_json(path / FIGURES))
    base = None
    if processes.sharded:
        base = processes.load_base(model, dtype, device, template, quantization)
        processes.wait()
    elif not processes.is_main:
        return {}
    found = joint_figures(load_members(folder, count, base, dtype, device, quantization), measured_on)
    if not processes.is_main:
        return {}
    write_json(folder / FILE, {"basis": basis, "finished": count, "centres": found["centres"]})
    result = {
        **figures[0],
        "ensemble_accuracy": found["accuracy"],
        "ensemble_seconds": round(sum(each["seconds"] for each in figures), 1),
    }
    write_json(folder / FIGURES, result)
    return {name: value for name, value in result.items() if not isinstance(value, list)}
