"""Candidate responses: sampled for the training prompts, and grouped into tasks for annotators."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from foundation.errors import UserError
from foundation.files import Row, content_id, json_line, read_rows, write_jsonl
from foundation.sizes import Sizes
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Candidate, Prompt, Task
from labeling_ui.store.store import Store
from pipeline.collection.held_out import kept_for_measuring
from pipeline.collection.prompts import asked_prompts
from pipeline.config.collect import CollectConfig
from pipeline.config.config import Config
from pipeline.runs.folder import Run
from pipeline.runs.label_store import label_store
from pipeline.terminal.progress import progress

if TYPE_CHECKING:
    from backbone.adapters import SharedBase
    from backbone.sampling import Draw
    from pipeline.acquisition.choice import Chooser

CHUNK = 16
Choose = Callable[[Mapping[str, Sequence[str]]], Mapping[tuple[str, str], str]]
"""Of candidates' ids by prompt: pairs of them, each with the reason why it was chosen."""


def sample_candidates(
    run: Run, config: Config, console: Console, folder: Path, base: "SharedBase", *, adapter: Path | None
) -> dict[str, Any]:
    """Write `folder/candidates.jsonl` for the round's training prompts; returns figures.

    The responses are the base's, or with `adapter`, which it carries as `ADAPTER`, the last round's policy's.
    """
    from pipeline.sampling.drawing import drawing_by
    from policy.native.training_state import ADAPTER

    asked = asked_prompts(run, config, base, console)
    source = {
        "model": config.model,
        "adapter": adapter and adapter.relative_to(run.path).as_posix(),
        "round": run.round,
    }
    if config.sampler.endpoint:
        source["server"] = config.sampler.endpoint
    with progress(console, "collect", len(asked) * config.collect.candidates) as advance:
        return collect(
            config.collect, base, asked, folder, adapter=ADAPTER if adapter else None, source=source,
            seed=config.seed + run.round, advance=advance, draw=drawing_by(config.sampler, {ADAPTER: adapter}),
        )  # fmt: skip


def add_tasks(run: Run, config: Config, console: Console) -> None:
    """Put the round's candidates and their tasks into the label store."""
    rows, campaign = read_rows(run.folder / "candidates.jsonl"), config.label.campaign
    with label_store(run, config) as store:
        if campaign.name not in {each.name for each in store.campaigns()}:
            store.add_campaign(campaign)
        version = store.version(campaign.name)
        number, chooser = config.collect.pairs_per_prompt, None
        choose = None
        if config.collect.chooser != "random":
            from pipeline.acquisition.choice import Chooser, set_priorities  # statistics, which take seconds to load
            from pipeline.acquisition.features import keep_features, read_features

            keep_features(run, config, console)
            measuring = kept_for_measuring(run, config)
            chooser = Chooser.after(config.collect.chooser, read_features(run), store, config.seed, measuring)
            choose = partial(_unasked_pairs, chooser, store, campaign, version, number)
        candidates, tasks = tasks_of(rows, number, config.seed, campaign, version, choose)
        store.add_prompts(Prompt(tuple(row["prompt"])) for row in rows)
        store.add_candidates(candidates)
        fresh = store.add_tasks(tasks)
        if chooser:
            set_priorities(store, chooser, campaign.name)
        nothing_to_do = not store.counts().tasks and not campaign.live
    console.print(f"collect: {len(candidates)} candidates, {len(tasks)} tasks to judge ({fresh} new).")
    asked, different = {row["prompt_id"] for row in rows}, Counter(one.prompt_id for one in candidates)
    alike = sum(different[prompt] < (1 if campaign.kind == "rating" else 2) for prompt in asked)
    if alike:
        console.print(
            f"collect: every response to {alike} of {len(asked)} prompts is the same, or empty: no task there."
        )
    if nothing_to_do:
        raise UserError(
            "there is nothing to judge. Raise collect.sampling.temperature, collect.sampling.max_new_tokens or "
            "collect.candidates, and run the command again."
        )


def _unasked_pairs(
    chooser: "Chooser", store: Store, campaign: Campaign, version: int, per_prompt: int,
    candidates: Mapping[str, Sequence[str]],
) -> Mapping[tuple[str, str], str]:  # fmt: skip
    """The chooser's pairs of prompts of which no pair is a task yet: what was chosen once stays."""
    here = {prompt: set(ids) for prompt, ids in candidates.items()}
    asked = {
        task.prompt_id
        for task in store.tasks()
        if (task.campaign, task.version) == (campaign.name, version)
        and here.get(task.prompt_id, set()).issuperset(task.candidates)
    }
    fresh = {prompt: ids for prompt, ids in candidates.items() if prompt not in asked}
    from pipeline.acquisition.choice import chosen_pairs

    return chosen_pairs(chooser, fresh, per_prompt, campaign.random_share)


def collect(
    config: CollectConfig,
    base: "SharedBase",
    prompts: Sequence[Row],
    folder: Path,
    *,
    adapter: str | None,
    source: dict[str, Any],
    seed: int,
    advance: Callable[[int], None],
    draw: "Draw",
) -> dict[str, Any]:
    """Write `folder/candidates.jsonl`, going on where an interrupted call left off; returns figures.

    `source` says what samples (model, adapter, round) and goes into every candidate.
    """
    path, part = folder / "candidates.jsonl", folder / "candidates.part.jsonl"
    size = prompts_at_once(base.sizes, config.candidates)
    per_chunk = size * config.candidates
    batch = per_chunk if base.sizes.sample_tokens is None else None
    done = list(_whole_lines(part))
    done = done[: len(done) // per_chunk * per_chunk]  # a chunk that was cut off is sampled again as it was batched
    write_jsonl(part, done)
    advance(len(done))
    for start in range(len(done) // config.candidates, len(prompts), size):
        chunk = prompts[start : start + size]
        ids = [base.renderer.prompt_ids(row["prompt"], config.sampling.max_new_tokens) for row in chunk]
        drawn = draw(
            base, adapter, ids, config.sampling, group=config.candidates, seed=seed, batch=batch,
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
            file.writelines(json_line(row) for row in fresh)
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


def prompts_at_once(sizes: Sizes, candidates: int) -> int:
    """How many prompts are answered together and written down: 16 on a CPU, elsewhere as many as sizes allow."""
    return CHUNK if sizes.sample_rows == Sizes().sample_rows else max(1, sizes.sample_rows // candidates)


def tasks_of(
    candidates: Sequence[Row],
    per_prompt: int,
    seed: int,
    campaign: Campaign | None = None,
    version: int = 1,
    choose: Choose | None = None,
) -> tuple[list[Candidate], list[Task]]:
    """What goes to the annotators: responses that are not empty, and tasks of different ones, chosen by a hash.

    Each prompt has up to `per_prompt` pairs or rankings; for ratings, each response is a task. `choose` chooses pairs
    otherwise. Responses with NUL characters are left out: they can be neither shown nor stored in every database.
    """
    campaign = campaign or Campaign()
    by_prompt: dict[str, dict[str, Candidate]] = {}
    for row in candidates:
        if row["response"].strip() and "\0" not in row["response"]:
            one = Candidate(row["prompt_id"], row["response"], row["source"])
            by_prompt.setdefault(one.prompt_id, {}).setdefault(one.id, one)
    ids = {prompt_id: sorted(found) for prompt_id, found in by_prompt.items()}
    tasks: list[Task] = []
    if choose and campaign.kind == "pairwise":
        chosen = choose(ids)
        prompt_of = {one: prompt_id for prompt_id, found in ids.items() for one in found}
        for pair, reason in chosen.items():
            tasks.append(Task(prompt_of[pair[0]], pair, campaign.name, version=version, reason=reason))
    else:
        for prompt_id, found in ids.items():
            ranked = campaign.kind == "ranking"
            groups = _rankings(found, campaign, per_prompt, seed) if ranked else combinations(found, campaign.shown)
            made = {one.id: one for one in (Task(prompt_id, group, campaign.name, version=version) for group in groups)}
            limit = len(made) if campaign.kind == "rating" else per_prompt
            tasks += [made[task_id] for task_id in sorted(made, key=lambda each: content_id(seed, each))[:limit]]
    return [one for found in by_prompt.values() for one in found.values()], tasks


def _rankings(ids: Sequence[str], campaign: Campaign, number: int, seed: int) -> Iterable[tuple[str, ...]]:
    """Up to so many different sets of responses to rank; all of them in one if there are fewer than can be shown."""
    if len(ids) < 2:
        return
    for place in range(number):
        shuffled = sorted((content_id(seed, place, one), one) for one in ids)
        yield tuple(one for _, one in shuffled[: campaign.shown])


def _whole_lines(path: Path) -> Iterator[Row]:
    """Rows that a killed process finished writing."""
    if path.is_file():
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                yield json.loads(line)
