"""From judgements to preference rows in TRL's format, and from other people's preference files to judgements.

`importers.py` knows how each format is laid out; here their pairs become prompts, candidates, tasks and
judgements. A file is read to its end before anything is stored, so that a malformed one leaves no trace,
and records are named by their content, so that importing a file twice adds nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from rlhf_pipeline.errors import UserError
from rlhf_pipeline.files import content_id
from rlhf_pipeline.labeling_ui.assignment import left_of
from rlhf_pipeline.labeling_ui.importers import FORMATS, Pair, Refusal, Vote, read_pairs
from rlhf_pipeline.labeling_ui.records import Candidate, Judgement, Prompt, Task
from rlhf_pipeline.labeling_ui.store import Store

_CHUNK = 500  # pairs a transaction
_SMALLEST_MARGIN = 0.01


@dataclass(frozen=True, slots=True)
class ImportReport:
    """Judgements taken, judgements that were there already, and what was refused, by line, and why."""

    taken: int
    already_there: int
    refused: list[Refusal]


@dataclass(frozen=True, slots=True)
class PreferenceSet:
    """Preference rows, and how many judged pairs gave none: no majority, both bad, or only skipped."""

    rows: list[dict[str, Any]]
    ties: int
    both_bad: int
    skipped: int


def import_file(store: Store, format: str, path: str | Path) -> ImportReport:
    """Bring a file's pairs into the store, with the annotators where the data names them.

    The formats are those of `importers.py`. A file that is malformed raises `UserError` and stores nothing.
    """
    if format not in FORMATS:
        raise UserError(f'unknown format "{format}": expected one of {", ".join(FORMATS)}.')
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is not a file. Give the path of a {format} file.")
    refused: list[Refusal] = []
    pairs: list[tuple[int, Pair]] = []
    for item in read_pairs(format, path):
        if isinstance(item, Refusal):
            refused.append(item)
        else:
            pairs.append(item)
    if not pairs and not refused:
        raise UserError(f"{path} holds no records.")
    outcomes: Counter[str] = Counter()
    for start in range(0, len(pairs), _CHUNK):
        _store_chunk(store, format, pairs[start : start + _CHUNK], outcomes, refused)
    refused.sort(key=lambda refusal: refusal.line)
    return ImportReport(taken=outcomes["taken"], already_there=outcomes["repeated"], refused=refused)


def _store_chunk(
    store: Store, format: str, pairs: Sequence[tuple[int, Pair]], outcomes: Counter[str], refused: list[Refusal]
) -> None:
    votes = {(vote.annotator, vote.simulated) for _, pair in pairs for vote in pair.votes}
    annotator_ids = {name: store.annotator(name, simulated).id for name, simulated in sorted(votes)}
    prompts, candidates, tasks = [], [], []
    judgements: list[Judgement] = []
    sources: list[tuple[int, str]] = []
    for line, pair in pairs:
        prompt = Prompt(pair.prompt, pair.references)
        first, second = (Candidate(prompt.id, text, {"imported": format}) for text in (pair.first, pair.second))
        task = Task(prompt.id, first.id, second.id)
        prompts.append(prompt)
        candidates += [first, second]
        tasks.append(task)
        for vote in pair.votes:
            annotator_id = annotator_ids[vote.annotator]
            judgements.append(_judgement(task, annotator_id, {"first": first.id, "second": second.id}, vote))
            sources.append((line, vote.annotator))
    overlap = max(len(pair.votes) for _, pair in pairs)
    results = store.record_many(judgements, prompts=prompts, candidates=candidates, tasks=tasks, overlap=overlap)
    outcomes.update(results)
    for (line, annotator), result in zip(sources, results, strict=True):
        if result == "answered":
            refused.append(Refusal(line, f'"{annotator}" has judged this pair before, and otherwise'))


def _judgement(task: Task, annotator_id: str, ids: Mapping[str, str], vote: Vote) -> Judgement:
    left = left_of(task, annotator_id)  # no format says which side was which: a coin keeps the side test honest
    winner = ids[vote.winner] if vote.winner else None
    return Judgement(
        task_id=task.id,
        annotator_id=annotator_id,
        verdict="tie" if winner is None else "left" if winner == left else "right",
        left=left,
        winner=winner,
        strength=vote.strength,
        key=content_id("import", task.id, annotator_id, winner, vote.strength),
    )


def preferences(store: Store) -> PreferenceSet:
    """One row for each pair with a majority among its decisive votes, in TRL's conversational preference format.

    With w votes for the chosen response, l for the other and t ties: `weight` = w + l + t, and
    `p_chosen` = (w + t/2) / (w + l + t). `margin`, in (0, 1], is there where strengths were given: the mean of
    strength/3 over the votes that have one, negative where they went the other way.
    """
    simulated = {annotator.id: annotator.simulated for annotator in store.annotators()}
    prompts = {prompt.id: prompt for prompt in store.prompts()}
    candidates = {candidate.id: candidate for candidate in store.candidates()}
    given: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in store.judgements():
        given[judgement.task_id].append(judgement)
    rows: list[dict[str, Any]] = []
    without: Counter[str] = Counter()
    for task in store.tasks():
        judgements = given[task.id]
        wins = Counter(judgement.winner for judgement in judgements if judgement.winner)
        if wins[task.a] == wins[task.b]:
            without[_why_none(judgements)] += 1
            continue
        chosen, rejected = (task.a, task.b) if wins[task.a] > wins[task.b] else (task.b, task.a)
        votes = [judgement for judgement in judgements if judgement.winner or judgement.verdict == "tie"]
        ties = len(votes) - wins.total()
        row: dict[str, Any] = {
            "prompt": [dict(message) for message in prompts[task.prompt_id].messages],
            "chosen": [{"role": "assistant", "content": candidates[chosen].response}],
            "rejected": [{"role": "assistant", "content": candidates[rejected].response}],
            "weight": len(votes),
            "p_chosen": (wins[chosen] + ties / 2) / len(votes),
            "ids": {"prompt": task.prompt_id, "chosen": chosen, "rejected": rejected},
            "annotators": sorted(vote.annotator_id for vote in votes),
            "simulated": any(simulated[vote.annotator_id] for vote in votes),
        }
        signed = [vote.strength / 3 * (1 if vote.winner == chosen else -1) for vote in votes if vote.strength]
        if signed:
            row["margin"] = round(min(1.0, max(_SMALLEST_MARGIN, mean(signed))), 4)
        rows.append(row)
    return PreferenceSet(rows, ties=without["tie"], both_bad=without["both_bad"], skipped=without["skip"])


def _why_none(judgements: Sequence[Judgement]) -> str:
    said = Counter(judgement.verdict for judgement in judgements)
    if said["left"] or said["right"] or (said["tie"] and said["tie"] >= said["both_bad"]):
        return "tie"
    return "both_bad" if said["both_bad"] else "skip" if said["skip"] else "unjudged"
