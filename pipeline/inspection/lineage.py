"""From an adapter to what it was made from, and whether its labels are still those in the store.

An adapter is known by its weights: in a round, in an export, or copied elsewhere. Labels that came after it do not
count; one that was edited, taken back or deleted since makes another label set, and the adapter no longer matches it.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from foundation.errors import UserError
from foundation.files import Row, sha256_of
from labeling_ui.store.store import Store
from pipeline.champion.history import WEIGHTS
from pipeline.champion.lineage import lineage_of, policies_of, recorded
from pipeline.champion.promotion import WHO
from pipeline.config.config import Config
from pipeline.inspection.facts import facts_of
from pipeline.inspection.status import next_step
from pipeline.reporting.shipping import how_far
from pipeline.runs.folder import Run
from pipeline.runs.label_store import has_labels, label_store

Lineage = dict[str, Any]


def trace(run: Run, config: Config, adapter: str) -> Lineage:
    """The lineage of a round of the run ("round-000", or its number) or of an adapter's folder.

    `labels_match` says whether the labels it was made from are still those in the run's store (None: not known), and
    `no_longer_match` which adapters of the run are not. `UserError` if the adapter is of nowhere that is known.
    """
    found = _of_round(run, adapter) or _of_folder(run, Path(adapter))
    if found is None and (number := _number(adapter)) is not None and number <= run.latest_round():
        now = run.at(number)
        if not now.folder.is_dir():
            raise UserError(f"{now.folder} is gone: what came from there cannot be traced.")
        step = next_step(facts_of(now, config)).next if number == run.latest_round() else None
        raise UserError(
            f"{now.folder} has no policy yet, so nothing leads back from it.{f' Next: {step}' if step else ''}"
        )
    if found is None:
        rounds = ", ".join(f"round-{number:03d}" for number in run.rounds()) or "none"
        raise UserError(
            f"{adapter} is neither a policy of {run.path} (rounds: {rounds}) nor a folder whose weights are those of "
            "one, and it carries no lineage of its own. Name the run that made it by --run."
        )
    matches = _matches(run, config)
    own = matches.get(found["adapter"]["sha256"])
    lost = [f"{sha256[:12]} ({path})" for sha256, (path, match) in matches.items() if match is False]
    return found | {"labels_match": own and own[1], "no_longer_match": lost, "open_verdict": _open(run, config, found)}


def carried(folder: Path) -> Lineage | None:
    """What an exported adapter says of itself, wherever it is, if its weights are those that it speaks of."""
    found = recorded(folder)
    return found and found | {"labels_match": None, "no_longer_match": [], "open_verdict": None}


def run_around(adapter: Path) -> Path | None:
    """The run in one of whose rounds a folder lies."""
    rounds = (each for each in (adapter, *adapter.parents) if re.fullmatch(r"round-\d{3}", each.name))
    return next((each.parent for each in rounds if each.is_dir() and each.parent != Path()), None)


def show(lineage: Lineage, console: Console, *, as_json: bool = False) -> None:
    """Print the lineage from the adapter back to its prompts, or with `as_json` for programs."""
    if as_json:
        console.print_json(data=lineage)
        return
    table = Table(title=f"{lineage['adapter']['path']} of {lineage['run']}", title_justify="left", show_header=False,
                  box=None)  # fmt: skip
    for name, said in _lines(lineage):
        table.add_row(name, Text(said))
    console.print(table)
    for each in lineage["no_longer_match"]:
        console.print(
            f"The labels of {each} are no longer those in the store: one was edited, taken back or deleted.",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip


def _of_round(run: Run, name: str) -> Lineage | None:
    number = _number(name)
    policy = None if number is None else run.at(number).record("policy")
    return None if number is None or policy is None else lineage_of(run.at(number), policy)


def _open(run: Run, config: Config, found: Lineage) -> Row | None:
    """How the open verdict on this adapter stands, if there is one."""
    from pipeline.verdict.deciding import open_verdict

    at = run.at(found["round"])
    waiting = open_verdict(at, config) if at.folder.is_dir() and has_labels(run, config) else None
    return waiting if waiting and waiting["candidate"]["sha256"] == found["adapter"]["sha256"] else None


def _number(name: str) -> int | None:
    """The number of a round that is named as such."""
    number = name.removeprefix("round-")
    return int(number) if number.isdecimal() else None


def _of_folder(run: Run, folder: Path) -> Lineage | None:
    """By the weights: those of a policy of this run, else what the folder says of itself."""
    weights = next((each for each in (folder / WEIGHTS, folder / "policy" / WEIGHTS) if each.is_file()), None)
    if weights is None:
        return None
    sha256 = sha256_of(weights)
    for at, record in policies_of(run):
        if sha256_of(at.folder / record.output / WEIGHTS) == sha256:
            return lineage_of(at, record)
    return recorded(folder)


def _matches(run: Run, config: Config) -> dict[str, tuple[str, bool | None]]:
    """Of each policy of the run, by its hash: where it is, and whether its labels are still those in the store."""
    made = [(lineage_of(at, record), record) for at, record in policies_of(run)]
    if not has_labels(run, config):
        return {record.output_sha256: (found["adapter"]["path"], None) for found, record in made}
    with label_store(run, config) as store:
        return {
            record.output_sha256: (found["adapter"]["path"], _match(store, found["labels"])) for found, record in made
        }


def _match(store: Store, labels: Mapping[str, Any] | None) -> bool | None:
    if labels is None or "last_event" not in labels["figures"]:
        return None
    return store.label_set_hash(until=labels["figures"]["last_event"]) == str(labels["label_set"])


def _lines(lineage: Lineage) -> Iterator[tuple[str, str]]:
    verdict, labels, reward = lineage["verdict"], lineage["labels"], lineage["reward_model"]
    yield "adapter", lineage["adapter"]["sha256"]
    for decision in lineage["decisions"]:
        yield decision["action"].replace("_", " "), f"{decision['at'][:10]}, by {decision['by']}: {decision['reason']}"
    if verdict:
        rate = "" if verdict["win_rate"] is None else f", win rate {verdict['win_rate']:.0%}"
        yield (
            "verdict",
            (
                f"{verdict['outcome'].replace('_', ' ')}, against {verdict['champion']['name']}, by "
                f"{WHO.get(verdict['by'], 'nobody')}"
                f"{rate}, {verdict['judgements']} judgements; {verdict['sha256']}"
            ),
        )
    elif waiting := lineage["open_verdict"]:
        who = f"by {WHO.get(waiting['by'], 'nobody')}"
        yield "verdict", f"{how_far(waiting)}; against {waiting['champion']['name']}, {who} so far"
    else:
        yield "verdict", "none: nobody has judged it"
    yield "began with", lineage["began_with"] or "a new adapter"
    settings = lineage["policy"]["settings"]
    yield "tuned by", f"{settings['algorithm']}, {settings['steps']} steps, seed {lineage['policy']['seed']}"
    if reward:
        yield "reward model", f"{reward['figures']['accuracy']:.1%} right on held-out pairs; {reward['sha256']}"
    if labels:
        yield "label set", f"{labels['label_set']} ({_still(lineage['labels_match'])})"
        figures = labels["figures"]
        yield "judgements", f"{figures['judgements']}, of these {figures['simulated_judgements']} simulated"
        agreement = figures.get("agreement")
        if agreement and agreement["alpha"] is not None:
            yield "agreement", f"Krippendorff's alpha {agreement['alpha']:.2f}"
    for name in ("candidates", "prompts"):
        if lineage[name]:
            yield name, lineage[name]["sha256"]
    yield "model", f"{lineage['model']['name']} {lineage['model']['sha256'] or ''}".strip()
    yield "versions", ", ".join(f"{name} {version}" for name, version in lineage["versions"].items())


def _still(match: bool | None) -> str:
    return {True: "still that of the store", False: "no longer that of the store", None: "not compared with a store"}[
        match
    ]
