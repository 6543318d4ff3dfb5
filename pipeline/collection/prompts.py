"""The prompts of a round: from the project's own file, a file of the user's, or the judgements that were imported.

What is held out is held out for good: nothing is sampled, labelled or tuned on it before the evaluation.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console

from foundation.errors import UserError
from foundation.files import Row, read_jsonl, read_rows
from labeling_ui.data_model import Prompt
from pipeline.collection.splitting import held_out_or_not
from pipeline.config.collect import CollectConfig
from pipeline.config.config import Config
from pipeline.runs.content import PROMPT_FIELDS
from pipeline.runs.folder import Run
from pipeline.runs.label_store import has_judgements, has_labels, label_store, waiting
from policy.config import check_config
from reward_model.labels.records import conversation_key, prompt_key
from reward_model.labels.splits import COMMON, held_out_conversations, split_by_prompt

if TYPE_CHECKING:
    from backbone.adapters import SharedBase
    from backbone.tokens import Renderer

EVERYDAY = Path(__file__).with_name("everyday.jsonl")
TRAIN, HELD_OUT = "train", "held_out"
_ROLES = ("user", "assistant", "system")
_TOLD = 50


class Source(NamedTuple):
    """Where a round's prompts come from: a file, or the label store, whose `rows` are read already."""

    name: str
    """A path, "everyday" or "labels"."""
    files: list[Path]
    held_out: float
    rows: list[Row]
    by_prompt: bool = False
    """Whether each prompt is on a side by itself, as earlier versions had it, and not with its conversation."""

    def read(self) -> list[Row]:
        """The rows of prompts.jsonl."""
        return self.rows or read_prompts(self.files[0], self.held_out, self.by_prompt)

    def is_that_of(self, settings: Mapping[str, Any]) -> bool:
        """Whether a prompts.jsonl that was made with these settings came from a file of this name."""
        return Path(settings["source"]).name == Path(self.name).name


def source_of(run: Run, config: Config) -> Source:
    """Where this round's prompts come from.

    Prompts of imported judgements are held out if the reward model holds them out: the policy is judged on nothing that
    the reward model was trained on. A run that an earlier version began keeps its split by prompt.
    """
    name = source_name(run, config)
    if name != "labels":
        share, files = config.collect.held_out, [EVERYDAY if name == "everyday" else Path(name)]
        return Source(name, files, share, [], _began_by_prompt(run, name, share))
    share = config.reward.held_out
    with label_store(run, config) as store:
        known = store.prompts()
    by_prompt = run.record("reward") is not None and split_by_prompt(run.folder / "reward")
    keys = [(prompt_key if by_prompt else conversation_key)(prompt.messages) for prompt in known]
    held_out = held_out_conversations(keys, share, config.seed)
    rows = [prompt_row(prompt, HELD_OUT if key in held_out else TRAIN) for prompt, key in zip(known, keys, strict=True)]
    return Source(name, [], share, rows, by_prompt)


def _began_by_prompt(run: Run, name: str, held_out: float) -> bool:
    """Whether an earlier version, which split by prompt, made those of this round or the last from this source."""
    made = run.record("prompts") or (run.at(run.round - 1).record("prompts") if run.round else None)
    used = made.basis.config if made and "conversations" not in made.figures else None
    return used is not None and (Path(used["source"]).name, used["held_out"]) == (Path(name).name, held_out)


def judged_stay_held_out(run: Run, config: Config, rows: Sequence[Row]) -> list[Row]:
    """The rows with every prompt held out on which a verdict was asked, whatever a changed file says of it now."""
    if not has_labels(run, config):
        return list(rows)
    with label_store(run, config) as store:
        judged = store.judged_prompts()
    moved = sum(row["id"] in judged and row["split"] == TRAIN for row in rows)
    if moved:
        run.say(f"prompts: {moved} prompts stay held out: a verdict was asked on them.")
    return [row | {"split": HELD_OUT} if row["id"] in judged else row for row in rows]


def source_name(run: Run, config: Config) -> str:
    """A prompts file, "everyday" or "labels": as configured, else as the run began, else by what there is."""
    if config.collect.prompts != "auto":
        return config.collect.prompts
    made = run.record("prompts") or (run.at(run.round - 1).record("prompts") if run.round else None)
    if made:
        return str(made.basis.config["source"])
    return "labels" if imported(run, config) else "everyday"


def imported(run: Run, config: Config) -> bool:
    """Whether what is judged came from elsewhere: there are tasks or judgements, and nothing was collected."""
    there = has_judgements(run, config) or (has_labels(run, config) and waiting(run, config) > 0)
    return there and not run.at(0).record("collect")


def fitting_prompts(
    run: Run, config: Config, base: "SharedBase", console: Console, split: str, new_tokens: int,
    every: Sequence[Row] | None = None,
) -> list[Row]:  # fmt: skip
    """The prompts of one split that leave room for so many new tokens; says how many do not.

    `every` are those of both splits, by default the round's.
    """
    if base.renderer.plain and config.template == "auto" and split == TRAIN:
        console.print(f"{config.model} has no chat template: it continues prompts as plain text.", markup=False)
    rows, fit = _fitting(run, config, base, split, new_tokens, every)
    if len(fit) < len(rows):
        console.print(
            f"{len(rows) - len(fit)} of {len(rows)} {split} prompts are longer than collect.max_prompt_tokens="
            f"{config.collect.max_prompt_tokens} (or than the context) and are left out."
        )
    if not fit:
        remedy = "raise collect.max_prompt_tokens, or shorten the prompts" if rows else "there is none"
        raise UserError(
            f"no {split} prompt is short enough: {remedy}. One that leaves room for {new_tokens} new tokens "
            f"is needed; {more_prompts(run, config, split)}."
        )
    return fit


def check_later_stages(run: Run, config: Config, base: "SharedBase", console: Console) -> None:
    """Refuse prompts, before anything is sampled, that are too few or too long to tune or to evaluate on."""
    fitting_prompts(run, config, base, console, HELD_OUT, config.evaluate.sampling.max_new_tokens)
    check_config(config.tuning, len(_fitting(run, config, base, TRAIN, config.policy.max_new_tokens)[1]))


def asked_prompts(
    run: Run, config: Config, base: "SharedBase", console: Console, every: Sequence[Row] | None = None
) -> list[Row]:
    """The training prompts that the round puts before annotators; `UserError` for too few to learn from."""
    new_tokens, limit = config.collect.sampling.max_new_tokens, config.collect.limit
    asked = fitting_prompts(run, config, base, console, TRAIN, new_tokens, every)
    if limit:  # each round asks the next so many
        first = run.round * limit % len(asked)
        asked = (asked[first:] + asked[:first])[:limit]
    if config.learned_reward and len(asked) < 2:
        raise UserError(
            "the reward model needs prompts to learn from and others to be measured on, and only one would be asked: "
            f"{more_prompts(run, config, TRAIN)} (or raise collect.limit)."
        )
    return asked


def _fitting(
    run: Run, config: Config, base: "SharedBase", split: str, new_tokens: int, every: Sequence[Row] | None = None
) -> tuple[list[Row], list[Row]]:
    every = read_rows(run.folder / "prompts.jsonl") if every is None else every
    from_labels = source_name(run, config) == "labels"
    check_prompts(every, base, from_labels)
    rows = [row for row in every if row["split"] == split]
    return rows, short_enough(rows, base, config.collect, new_tokens, from_labels)


def usable(rows: Sequence[Row], base: "SharedBase", imported: bool) -> list[Row]:
    """Those that `check_prompts` does not refuse."""
    refused = _renderer(base, imported).refusals([row["prompt"] for row in rows])
    return [row for place, row in enumerate(rows) if place not in refused]


def check_prompts(rows: Sequence[Row], base: "SharedBase", imported: bool) -> None:
    """Refuse prompts that cannot be rendered or are longer than the context: all of them, each with its reason."""
    from backbone.tokens import opening

    refused = _renderer(base, imported).refusals([row["prompt"] for row in rows])
    if not refused:
        return
    told = [f'  {rows[at]["id"]} "{opening(rows[at]["prompt"])}" {why.reason}' for at, why in refused.items()]
    if len(told) > _TOLD:
        told[_TOLD:] = [f"  and {len(told) - _TOLD} more"]
    remedies = ". ".join(dict.fromkeys(why.remedy for why in refused.values()))
    lines = "\n".join(told)
    raise UserError(f"{len(refused)} of {len(rows)} prompts cannot be used:\n{lines}\n{remedies}.")


def more_prompts(run: Run, config: Config, split: str) -> str:
    """How to get more prompts of a split, from wherever the round's come."""
    name = source_name(run, config)
    if name == "labels":
        return "import judgements of more prompts (`rlhf import --format FORMAT FILE`), or label more"
    if name == "everyday":
        return "name a file of your own as collect.prompts"
    return f'add some to {name} with "split": "{split}" and run the same command again'


def short_enough(
    rows: Sequence[Row], base: "SharedBase", config: CollectConfig, new_tokens: int, imported: bool
) -> list[Row]:
    """The prompts that leave room for `new_tokens` and are no longer than the configuration allows."""
    longest = min(config.max_prompt_tokens, base.renderer.max_length - new_tokens)
    renderer = _renderer(base, imported)
    return [row for row in rows if len(renderer.prompt_ids(row["prompt"])) <= longest]


def _renderer(base: "SharedBase", imported: bool) -> "Renderer":
    """The base's, without a longest prompt if they were imported: nobody can shorten those, so they are left out."""
    return base.renderer.unbounded if imported else base.renderer


def read_prompts(path: Path, held_out: float, by_prompt: bool = False) -> list[Row]:
    """Rows `{"id", "prompt", "references"?, "split"}` of a prompts file, in its order, with their further fields.

    All its prompts are conversations, or all are strings, each of which becomes one message of the user's.
    Where the file gives no `split`, a prompt is on the side of its conversation (`conversation_key`), which a hash
    decides, so that it is the same every time; `by_prompt`, each has its own. `UserError` names line and field of
    anything malformed, a prompt that is in both splits, and a split without a prompt.
    """
    found = parse_prompts(path, held_out, by_prompt)
    for split, purpose in ((TRAIN, "train on"), (HELD_OUT, "evaluate on")):
        if not any(row["split"] == split for row in found):
            alone = len(found) > 1 and len({conversation_key(row["prompt"]) for row in found}) == 1
            remedy = f"all begin with the same message, so they are one conversation. Add others. {COMMON}"
            add = f'add one, or give another line "split": "{split}".'
            raise UserError(f"{path} holds no prompt to {purpose}: {remedy if alone else add}")
    return found


def parse_prompts(path: Path, held_out: float, by_prompt: bool = False) -> list[Row]:
    """As `read_prompts`, also where a split is left without a prompt."""
    rows: dict[str, Row] = {}
    first: tuple[int, type] | None = None
    for number, row in read_jsonl(path, {"prompt": object}):
        where = f"{path}, line {number}"
        first = first or (number, type(row["prompt"]))
        if type(row["prompt"]) is not first[1]:
            raise UserError(
                f'{where}: the field "prompt" is {_called(row["prompt"])}, but that of line {first[0]} is not. '
                "Write all prompts of a file as strings, or all as lists of messages."
            )
        references = row.get("references") or []
        if not isinstance(references, list) or not all(isinstance(text, str) for text in references):
            raise UserError(f'{where}: the field "references" must be a list of strings.')
        prompt = Prompt(tuple(_messages(row["prompt"], where)), tuple(references))
        split = row.get("split") or ""
        if split not in ("", TRAIN, HELD_OUT):
            raise UserError(f'{where}: "split" must be "{TRAIN}" or "{HELD_OUT}", found {split!r}.')
        further = {name: value for name, value in row.items() if name not in PROMPT_FIELDS}
        known = rows.setdefault(prompt.id, further | prompt_row(prompt, split))
        if split and known["split"] not in ("", split):
            raise UserError(f"{where}: this prompt is in both splits. Remove one of the two lines.")
        known["split"] = known["split"] or split
    found = list(rows.values())
    _split(found, held_out, by_prompt)
    return found


def prompt_row(prompt: Prompt, split: str) -> Row:
    """The line of prompts.jsonl."""
    row: Row = {"id": prompt.id, "prompt": [dict(message) for message in prompt.messages], "split": split}
    return row | {"references": list(prompt.references)} if prompt.references else row


def _called(prompt: object) -> str:
    return "a string" if isinstance(prompt, str) else "a list" if isinstance(prompt, list) else repr(prompt)[:40]


def _messages(messages: object, where: str) -> Iterator[Any]:
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    if not isinstance(messages, list):
        raise UserError(f'{where}: the field "prompt" must be a string or a list of messages.')
    if not messages or not isinstance(messages[-1], dict) or messages[-1].get("role") != "user":
        raise UserError(f'{where}: the field "prompt" must be a list of messages that ends with a user turn.')
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise UserError(f'{where}: in the field "prompt", each message needs a "role": system, user or assistant.')
        if not isinstance(message.get("content"), str) or not message["content"].strip():
            raise UserError(f'{where}: in the field "prompt", each message needs a "content" that is not empty.')
        yield {"role": message["role"], "content": message["content"]}


def _split(rows: Sequence[Row], held_out: float, by_prompt: bool) -> None:
    """Decide the split of those rows that have none: as the file has others of their conversation, training first."""
    keys = [row["id"] if by_prompt else conversation_key(row["prompt"]) for row in rows]
    said: dict[str, bool] = {}
    for row, key in zip(rows, keys, strict=True):
        if row["split"]:
            said[key] = said.get(key, True) and row["split"] == HELD_OUT
    sides = held_out_or_not(keys, said, held_out)
    for row, key in zip(rows, keys, strict=True):
        row["split"] = row["split"] or (HELD_OUT if sides[key] else TRAIN)
