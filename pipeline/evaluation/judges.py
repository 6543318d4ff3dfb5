"""The evaluate stage's work: who judges the blind comparison of a run.

The reward model does, or else the programmatic rewards. If all labels are simulated, the guidelines' score that the
simulated annotators were given comes first.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from backbone.adapters import SharedBase
from backbone.exactness import load_shared_base
from foundation.errors import UserError
from foundation.files import Row, write_json
from pipeline.collection.held_out import learned_from
from pipeline.collection.prompts import HELD_OUT, fitting_prompts, more_prompts
from pipeline.config.config import Config
from pipeline.evaluation.comparison import Judge, evaluate
from pipeline.policy_scorers import mixture_scorer, programmed_judge
from pipeline.runs.folder import Run
from pipeline.sampling.drawing import drawing_by
from pipeline.simulation.guidelines import SimulatedPreference
from pipeline.terminal.progress import progress
from policy.model_card import words_ratio
from policy.native.training_state import ADAPTER
from policy.scorer_protocol import Scorer
from reward_model.ensemble import load_scorer
from reward_model.labels.splits import is_among

SCORE, SIMULATED, PROGRAMMED = "reward model", "simulated preference", "programmed rewards"


def compare_with_base(
    run: Run, config: Config, console: Console, folder: Path, *, adapter: Path, reward: Path | None, simulated: bool
) -> dict[str, Any]:
    """Write `folder/evaluation.json`: the policy's adapter against the base on held-out prompts; returns its figures.

    `reward` is the reward model's folder, or None if the programmatic rewards judge.
    """
    base = load_shared_base(config.model, config.dtype, config.device, config.template, config.quantization)
    base.load_adapter(ADAPTER, adapter)
    asked = unseen_prompts(run, config, base, console)[: config.evaluate.prompts]
    judges, scorer = judges_of(config, base, asked, reward, simulated)
    with progress(console, "evaluate", config.evaluate.responses * len(asked)) as advance:
        found = evaluate(
            config.evaluate, base, ADAPTER, asked, judges, folder, seed=config.seed, advance=advance, scorer=scorer,
            draw=drawing_by(config.sampler, {ADAPTER: adapter}),
        )  # fmt: skip
    write_json(folder / "evaluation.json", found)
    first = next(iter(judges))
    return {
        **found["sampled"]["win_rates"][first],
        "judge": first,
        "mean_kl": found["mean_kl"],
        "distinct2_ratio": found["distinct2_ratio"],
        "words_ratio": words_ratio(found),
    }


def judges_of(
    config: Config, base: SharedBase, asked: Sequence[Row], reward: Path | None, simulated: bool
) -> tuple[dict[str, Judge], Scorer]:
    """The automatic judges of responses to the prompts that are `asked`, by name, and what best-of-n chooses by.

    Of simulated labels, the preference that their annotators were given comes first. Best-of-n chooses by the reward
    that the policy was tuned towards, which may be a mixture, or none of the judges; after DPO, by the last judge.
    """
    model = load_scorer(reward, base) if reward else None
    scorer: Scorer = model or programmed_judge(config.rewards, base, asked)
    judges: dict[str, Judge] = {SIMULATED: by_guidelines(base)} if simulated else {}
    judges[SCORE if reward else PROGRAMMED] = lambda rows, answers: scorer.score(
        [base.renderer.prompt_ids(row["prompt"]) for row in rows], [answer["ids"] for answer in answers]
    ).tolist()
    if not config.best_of_rewards:
        return judges, scorer
    return judges, mixture_scorer(config.rewards, base, asked, model if config.learned_reward else None)


def unseen_prompts(run: Run, config: Config, base: SharedBase, console: Console) -> list[Row]:
    """The held-out prompts that are short enough, less those that were learned from before they were held out.

    A policy was tuned on them or on others of their conversations, or the reward model that judges was trained there.
    """
    unseen = fitting_prompts(run, config, base, console, HELD_OUT, config.evaluate.sampling.max_new_tokens)
    for seen, why in learned_from(run):
        asked, unseen = unseen, [row for row in unseen if not is_among(row["prompt"], seen)]
        if len(unseen) < len(asked):
            console.print(
                f"evaluate: {len(asked) - len(unseen)} held-out prompts are left out: {why} on them, or on others of "
                "their conversations."
            )
    if not unseen:
        raise UserError(
            "every held-out prompt was learned from before it was held out, so nothing can be measured on them: "
            f"{more_prompts(run, config, HELD_OUT)}. `rlhf export` writes the adapter without an evaluation."
        )
    return unseen


def by_guidelines(base: SharedBase) -> Judge:
    """The judge of simulated labels: what their annotators were made to prefer, measured by the base alone."""
    preference = SimulatedPreference(lambda: base)

    def judge(rows: Sequence[Row], answers: Sequence[Row]) -> list[float]:
        return preference.of([row["prompt"] for row in rows], [answer["response"] for answer in answers])

    return judge
