"""Prompts, and candidate responses to them for annotators to judge.

Prompts come from the project's own file, a file of the user's, or the judgements that were imported. What is held
out is held out for good: nothing is sampled, labelled or tuned on it before the evaluation.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from pydantic import Field

from backbone.adapters import SharedBase
from backbone.sampling import SamplingConfig, sample
from foundation.errors import UserError
from foundation.files import Row, content_id, read_jsonl, write_jsonl
from foundation.settings import Settings
from labeling_ui.campaigns.campaign import Campaign
from labeling_ui.records import Candidate, Prompt, Task

EVERYDAY = Path(__file__).with_name("everyday.jsonl")
TRAIN, HELD_OUT = "train", "held_out"
_CHUNK = 16
_ROLES = ("user", "assistant", "system")


class CollectConfig(Settings):
    """Which prompts, and how many responses to each are put before the annotators."""

    prompts: str = Field(
        "auto",
        description='a prompts.jsonl, "everyday" (the project\'s own), "labels" (those of the judgements), or auto',
    )
    limit: int | None = Field(None, ge=1, description="use only the first so many training prompts")
    held_out: float = Field(0.2, gt=0, lt=1, description="share of prompts to hold out, where the file does not say")
    max_prompt_tokens: int = Field(512, ge=1, description="longer prompts are left out, and counted")
    candidates: int = Field(4, ge=2, description="responses to each prompt")
    pairs_per_prompt: int = Field(3, ge=1, description="pairs, or rankings, of them that are put before annotators")
    sampling: SamplingConfig = Field(SamplingConfig(), description="how the responses are drawn")


def read_prompts(path: Path, held_out: float) -> list[Row]:
    """Rows `{"id", "prompt", "references"?, "split"}` of a prompts file, in its order.

    Where the file gives no `split`, a hash of the prompt decides, so that it is the same every time. `UserError` names
    line and field of anything malformed, and a prompt that is in both splits.
    """
    rows: dict[str, Row] = {}
    for number, row in read_jsonl(path, {"prompt": list}):
        where = f"{path}, line {number}"
        references = row.get("references") or []
        if not isinstance(references, list) or not all(isinstance(text, str) for text in references):
            raise UserError(f'{where}: the field "references" must be a list of strings.')
        prompt = Prompt(tuple(_messages(row["prompt"], where)), tuple(references))
        split = row.get("split") or _split_of(prompt.id, held_out)
        if split not in (TRAIN, HELD_OUT):
            raise UserError(f'{where}: "split" must be "{TRAIN}" or "{HELD_OUT}", found {split!r}.')
        known = rows.setdefault(prompt.id, prompt_row(prompt, split))
        if known["split"] != split:
            raise UserError(f"{where}: this prompt is in both splits. Remove one of the two lines.")
    if not any(row["split"] == TRAIN for row in rows.values()):
        raise UserError(f"{path} holds no prompt to train on.")
    return list(rows.values())


def prompt_row(prompt: Prompt, split: str) -> Row:
    """The line of prompts.jsonl."""
    row: Row = {"id": prompt.id, "prompt": [dict(message) for message in prompt.messages], "split": split}
    return row | {"references": list(prompt.references)} if prompt.references else row


def short_enough(rows: Sequence[Row], base: SharedBase, config: CollectConfig, imported: bool) -> list[Row]:
    """The prompts that leave room for a response and are no longer than the configuration allows.

    A prompt longer than the whole context is a `UserError`, so that its writer mends it, unless it was imported.
    """
    longest = min(config.max_prompt_tokens, base.renderer.max_length - config.sampling.max_new_tokens)
    context = sys.maxsize if imported else base.renderer.max_length
    renderer = replace(base.renderer, max_length=context)
    return [row for row in rows if len(renderer.prompt_ids(row["prompt"])) <= longest]


def collect(
    config: CollectConfig,
    base: SharedBase,
    prompts: Sequence[Row],
    folder: Path,
    *,
    adapter: str | None,
    source: dict[str, Any],
    seed: int,
    advance: Callable[[int], None],
) -> dict[str, Any]:
    """Write `folder/candidates.jsonl`, going on where an interrupted call left off; returns figures.

    `source` says what samples (model, adapter, round) and goes into every candidate.
    """
    path, part = folder / "candidates.jsonl", folder / "candidates.part.jsonl"
    per_chunk = _CHUNK * config.candidates
    done = list(_whole_lines(part))
    done = done[: len(done) // per_chunk * per_chunk]  # a chunk that was cut off is sampled again as it was batched
    write_jsonl(part, done)
    advance(len(done))
    for start in range(len(done) // config.candidates, len(prompts), _CHUNK):
        chunk = prompts[start : start + _CHUNK]
        ids = [base.renderer.prompt_ids(row["prompt"], config.sampling.max_new_tokens) for row in chunk]
        with base.using(adapter):
            drawn = sample(
                base, ids, config.sampling, group=config.candidates, seed=seed, batch=per_chunk,
                rows=[(start + place) * config.candidates for place in range(len(chunk))],
            )  # fmt: skip
        fresh = []
        for one in drawn:
            row = chunk[one.prompt]
            candidate = Candidate(row["id"], base.renderer.text(one.response_ids))
            fresh.append(
                {
                    "id": candidate.id,
                    "prompt_id": row["id"],
                    "prompt": row["prompt"],
                    "response": candidate.response,
                    "source": source
                    | {"temperature": config.sampling.temperature, "top_p": config.sampling.top_p, "seed": seed}
                    | {"finish_reason": one.finish_reason},
                }
            )
        with part.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in fresh)
        done += fresh
        advance(len(fresh))
    write_jsonl(path, done)
    part.unlink()
    finished = sum(row["source"]["finish_reason"] == "stop" for row in done)
    return {
        "prompts": len(prompts),
        "candidates": len(done),
        "different": len({row["id"] for row in done}),
        "empty": sum(not row["response"] for row in done),
        "finish_rate": finished / len(done),
    }


def tasks_of(
    candidates: Sequence[Row], per_prompt: int, seed: int, campaign: Campaign | None = None
) -> tuple[list[Candidate], list[Task]]:
    """What goes to the annotators: responses that are not empty, and tasks of different ones chosen by a hash.

    Each prompt has up to `per_prompt` pairs or rankings; for ratings, each response is a task. Responses with NUL
    characters are left out: they can be neither shown nor stored in every database.
    """
    campaign = campaign or Campaign()
    by_prompt: dict[str, dict[str, Candidate]] = {}
    for row in candidates:
        if row["response"].strip() and "\0" not in row["response"]:
            one = Candidate(row["prompt_id"], row["response"], row["source"])
            by_prompt.setdefault(one.prompt_id, {}).setdefault(one.id, one)
    tasks: list[Task] = []
    for prompt_id, found in by_prompt.items():
        ids = sorted(found)
        ranked = campaign.kind == "ranking"
        groups = _rankings(ids, campaign, per_prompt, seed) if ranked else combinations(ids, campaign.shown)
        made = {task.id: task for task in (Task(prompt_id, group, campaign.name) for group in groups)}
        limit = len(made) if campaign.kind == "rating" else per_prompt
        tasks += [made[task_id] for task_id in sorted(made, key=lambda each: content_id(seed, each))[:limit]]
    return [one for found in by_prompt.values() for one in found.values()], tasks


def _rankings(ids: Sequence[str], campaign: Campaign, number: int, seed: int) -> Iterable[tuple[str, ...]]:
    """Up to so many different sets of responses to rank; all of them in one where there are fewer than can be shown."""
    if len(ids) < 2:
        return
    for place in range(number):
        shuffled = sorted((content_id(seed, place, one), one) for one in ids)
        yield tuple(one for _, one in shuffled[: campaign.shown])


def _messages(messages: list[Any], where: str) -> Iterator[Any]:
    if not messages or not isinstance(messages[-1], dict) or messages[-1].get("role") != "user":
        raise UserError(f'{where}: the field "prompt" must be a list of messages that ends with a user turn.')
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise UserError(f'{where}: in the field "prompt", each message needs a "role": system, user or assistant.')
        if not isinstance(message.get("content"), str) or not message["content"].strip():
            raise UserError(f'{where}: in the field "prompt", each message needs a "content" that is not empty.')
        yield {"role": message["role"], "content": message["content"]}


def _split_of(prompt_id: str, held_out: float) -> str:
    return HELD_OUT if int(content_id("split", prompt_id), 16) / 16**16 < held_out else TRAIN


def _whole_lines(path: Path) -> Iterator[Row]:
    """Rows that a killed process finished writing."""
    if path.is_file():
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                yield json.loads(line)
