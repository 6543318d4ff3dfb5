"""The evaluate stage's work: who judges the blind comparison of a run.

The reward model does, or else the programmatic rewards. If all labels are simulated, the preference that the simulated
annotators were given comes first.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from backbone.adapters import SharedBase
from backbone.exactness import load_shared_base
from foundation.errors import UserError
from foundation.files import Row, write_json
from pipeline.collection.prompts import HELD_OUT, fitting_prompts, more_prompts, tuned_on
from pipeline.config.config import Config
from pipeline.evaluation.comparison import Judge, evaluate
from pipeline.policy_scorers import programmed_judge
from pipeline.runs.folder import Run
from pipeline.simulation.hidden_preference import hidden_preference, prompt_text
from pipeline.terminal.progress import progress
from policy.native.training_state import ADAPTER
from reward_model.ensemble import load_scorer

SCORE, SIMULATED, PROGRAMMED = "reward model", "simulated preference", "programmed rewards"


def compare_with_base(
    run: Run, config: Config, console: Console, folder: Path, *, adapter: Path, reward: Path | None, simulated: bool
) -> dict[str, Any]:
    """Write `folder/evaluation.json`: the policy's adapter against the base on held-out prompts; returns its figures.

    `reward` is the reward model's folder, or None if the programmatic rewards judge.
    """
    base = load_shared_base(config.model, config.dtype, config.device, config.template, config.quantization)
    base.load_adapter(ADAPTER, adapter)
    asked = _unseen(run, config, base, console)[: config.evaluate.prompts]
    scorer = load_scorer(reward, base) if reward else programmed_judge(config.rewards, base, asked)
    judges: dict[str, Judge] = {SIMULATED: by_hidden_preference} if simulated else {}
    judges[SCORE if reward else PROGRAMMED] = lambda rows, answers: scorer.score(
        [base.renderer.prompt_ids(row["prompt"]) for row in rows], [answer["ids"] for answer in answers]
    ).tolist()
    with progress(console, "evaluate", config.evaluate.responses * len(asked)) as advance:
        found = evaluate(
            config.evaluate, base, ADAPTER, asked, judges, folder, seed=config.seed, advance=advance, scorer=scorer
        )
    write_json(folder / "evaluation.json", found)
    first = next(iter(judges))
    return {
        **found["sampled"]["win_rates"][first],
        "judge": first,
        "mean_kl": found["mean_kl"],
        "distinct2_ratio": found["distinct2_ratio"],
    }


def _unseen(run: Run, config: Config, base: SharedBase, console: Console) -> list[Row]:
    """The held-out prompts that are short enough, less those that a policy was tuned on before they were held out."""
    asked = fitting_prompts(run, config, base, console, HELD_OUT, config.evaluate.sampling.max_new_tokens)
    seen = tuned_on(run)
    unseen = [row for row in asked if row["id"] not in seen]
    if len(unseen) < len(asked):
        console.print(
            f"evaluate: {len(asked) - len(unseen)} held-out prompts are left out: the policy was tuned on them."
        )
    if not unseen:
        raise UserError(
            "the policy was tuned on every held-out prompt, so nothing can be measured on them: "
            f"{more_prompts(run, config, HELD_OUT)}. `rlhf export` writes the adapter without an evaluation."
        )
    return unseen


def by_hidden_preference(rows: Sequence[Row], answers: Sequence[Row]) -> list[float]:
    """The judge of simulated labels: what their annotators were made to prefer."""
    return [
        hidden_preference(prompt_text(row["prompt"]), answer["response"])
        for row, answer in zip(rows, answers, strict=True)
    ]
