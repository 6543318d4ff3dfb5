"""What works on a reward model or an adapter by itself, without a run: score, evaluate-reward, merge."""

from pathlib import Path

from rich.console import Console

from foundation.errors import UserError
from foundation.files import Row, read_jsonl, write_json, write_jsonl
from pipeline.config.config import Config
from pipeline.yardstick import score_texts, yardstick
from policy.export import merge as merge_policy
from reward_model.ensemble import Ensemble, load_scorer
from reward_model.evaluation import test_set
from reward_model.evaluation.evaluate import evaluate_reward as measure_reward
from reward_model.labels.reading import read_messages, read_pairs
from reward_model.labels.records import Messages, prompt_key
from reward_model.labels.splits import is_among, trained_on
from reward_model.merging import merge_reward
from reward_model.reward_folder import is_reward_folder
from reward_model.rewards.texts import messages_of


def score(config: Config, console: Console, *, reward_folder: Path, file: Path, out: Path) -> None:
    """Add to `{"prompt", "response"}` rows their score, and where the reward model has them its standard deviation and
    the scores of rated aspects.
    """
    scorer = load_scorer(reward_folder, dtype=config.dtype, device=config.device, quantization=config.quantization)
    rows = []
    for number, row in read_jsonl(file, {"prompt": object, "response": str}):
        try:
            read_messages(messages_of(row["prompt"]) if isinstance(row["prompt"], str) else row["prompt"], "prompt")
        except ValueError as error:
            raise UserError(f"{file}, line {number}: {error}") from error
        rows.append(row)
    render = scorer.base.renderer.unbounded  # the scorer cuts
    prompts = [render.prompt_ids(messages_of(row["prompt"])) for row in rows]
    responses = [render.response_ids(row["response"]) for row in rows]
    if scorer.unsure:
        scores, stds = scorer.score(prompts, responses, return_std=True)
        found = [{"score": mean, "score_std": std} for mean, std in zip(scores.tolist(), stds.tolist(), strict=True)]
    else:
        found = [{"score": mean} for mean in scorer.score(prompts, responses).tolist()]
    aspects = {name: values.tolist() for name, values in scorer.aspect_scores(prompts, responses).items()}
    for place, row in enumerate(found if aspects else []):
        row["aspects"] = {name: values[place] for name, values in aspects.items()}
    write_jsonl(out, [row | more for row, more in zip(rows, found, strict=True)])
    console.print(f"score: {len(rows)} responses scored to {out}")


def evaluate_reward(
    config: Config, console: Console, *, reward_folder: Path, pairs: Path, out: Path | None, against: str | None = None
) -> Row:
    """How good a reward model is on pairs, or on a test set, that it was not trained on, also beside another one.

    `against` names a reward folder, or a sequence-classification model: a folder or a hub id.
    """
    asked = _questions(pairs)
    rows, left_out = ([], []) if asked else read_pairs(pairs)
    known = trained_on(reward_folder)
    every: list[Messages] = [*(one.prompt for one in asked), *(row["prompt"] for row in rows)]
    prompts = {prompt_key(prompt): prompt for prompt in every}
    scorer = load_scorer(reward_folder, dtype=config.dtype, device=config.device, quantization=config.quantization)
    first = scorer.members[0] if isinstance(scorer, Ensemble) else scorer
    other = yardstick(first, against, config.quantization) if against else None
    if asked:
        figures = test_set.figures(asked, score_texts(scorer))
        figures |= {"against": test_set.figures(asked, other.score)} if other else {}
    else:
        figures = measure_reward(first, rows, other.differences if other else None)
    if isinstance(scorer, Ensemble) and not asked:
        figures["ensemble_accuracy"] = scorer.accuracy(rows)
    if known is not None:
        figures["trained_prompts"] = sum(is_among(prompt, known) for prompt in prompts.values())
    if out:
        write_json(out, figures)
    console.print(f"{len(left_out)} lines compare nothing and were left out." if left_out else "")
    if figures.get("trained_prompts"):
        console.print(
            f"{figures['trained_prompts']} of {len(prompts)} prompts are among those that the reward model was trained "
            "on, or go on with their conversations: it does better on them than on new ones. Give pairs of others."
        )
    if unclear := test_set.contradictory(asked):
        console.print(
            f"The same response is both right and wrong in {len(unclear)} questions, {unclear[0]} for one: no reward "
            "model can tell."
        )
    console.print_json(data=figures)
    return figures


def _questions(file: Path) -> list[test_set.Question]:
    """The questions of a published test set; none if the file holds pairs."""
    lines = read_jsonl(file)
    first = next(lines, None)
    return test_set.questions([first, *lines], str(file)) if first and test_set.is_test_set(first[1]) else []


def merge(adapter: Path, out: Path, model: str | None = None, dtype: str | None = None) -> None:
    """Write an adapter and its base as one model: one that scores where the adapter has a score head."""
    (merge_reward if is_reward_folder(adapter) else merge_policy)(adapter, out, model, dtype)
