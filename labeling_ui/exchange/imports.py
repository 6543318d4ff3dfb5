"""Other people's judgements, brought into the label store.

`importers/` knows how each format is laid out; here their items become prompts, candidates, tasks and judgements of a
campaign, or, as gold, tasks whose answer is known. A file is read to its end before anything is stored, so that a
malformed one leaves no trace, and records are named by their content, so that importing a file twice adds nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from foundation.errors import UserError
from foundation.files import content_id
from labeling_ui.assignment.answer_validation import check_judgement, check_task
from labeling_ui.assignment.display_order import display_order
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Candidate, Judgement, Prompt, Task
from labeling_ui.exchange.importers.judged_items import Item, Refusal, Refused, Vote, in_ids, read_items
from labeling_ui.exchange.importers.registry import FORMATS
from labeling_ui.store.store import Store

_CHUNK = 500  # tasks a transaction


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What was taken (judgements, or gold tasks), what was there already, and what was refused, by line, and why."""

    taken: int
    already_there: int
    refused: list[Refusal]


@dataclass(frozen=True, slots=True)
class _Draft:
    """A task that a line of the file describes, with all that it needs, and the votes on it."""

    line: int
    prompt: Prompt
    candidates: tuple[Candidate, ...]
    task: Task
    votes: tuple[Vote, ...]


def import_file(
    store: Store, format: str, path: str | Path, campaign: Campaign | None = None, *, gold: bool = False
) -> ImportReport:
    """Bring a file's judgements into a campaign, with the annotators if the data names them.

    The formats are those of `importers`. With `gold`, the answers are taken as known ones: each item becomes a gold
    task, and no judgement is stored. A file that is malformed raises `UserError` and stores nothing.
    """
    if format not in FORMATS:
        raise UserError(f'unknown format "{format}": expected one of {", ".join(FORMATS)}.')
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is not a file. Give the path of a {format} file.")
    wanted = campaign or Campaign()
    known = {each.name: each for each in store.campaigns()}.get(wanted.name)
    campaign = known if known and known.kind == wanted.kind else wanted  # what is there keeps its settings
    refused: list[Refusal] = []
    items: list[tuple[int, Item]] = []
    for found in read_items(FORMATS[format].load(), path):
        if isinstance(found, Refusal):
            refused.append(found)
            continue
        try:
            items += [(found[0], part) for part in _fitting(found[1], campaign)]
        except Refused as error:
            refused.append(Refusal(found[0], str(error)))
    version = store.version(campaign.name)
    drafts: list[_Draft] = []
    for line, item in _joined(items) if campaign.kind == "rating" else items:
        try:
            drafts.append(_draft(line, item, campaign, version, format, gold))
        except (Refused, UserError) as error:
            refused.append(Refusal(line, str(error)))
    if not drafts and not refused:
        raise UserError(f"{path} holds no records.")
    _check_names(store, drafts)
    if drafts and campaign != known:
        store.add_campaign(campaign)
    there = {task.id: task.gold for task in store.tasks()}
    save = _save_gold if gold else _save_votes
    outcomes: Counter[str] = Counter()
    for start in range(0, len(drafts), _CHUNK):
        outcomes += save(store, drafts[start : start + _CHUNK], there, refused)
    refused.sort(key=lambda refusal: refusal.line)
    return ImportReport(outcomes["taken"], outcomes["repeated"], refused)


def _fitting(item: Item, campaign: Campaign) -> Iterable[Item]:
    """The item as tasks of this campaign; `Refused` if it holds another kind of judgement."""
    kinds = {_kind(vote.answer) for vote in item.votes} - {None}
    kind = kinds.pop() if kinds else campaign.kind
    if kind == "ranking" and campaign.kind == "pairwise" and len(item.responses) == 2:
        votes = tuple(replace(vote, answer=_as_preference(vote.answer)) for vote in item.votes)
        return [replace(item, votes=votes)]
    if kind != campaign.kind:
        raise Refused(
            f'it is {kind}, and the campaign "{campaign.name}" is {campaign.kind}: bring it into a campaign of its own '
            f"kind, as with --set label.name={kind} --set label.kind={kind}"
        )
    if kind != "rating":
        return [item]
    votes_on = {place: tuple(_on(vote, str(place)) for vote in item.votes) for place in range(len(item.responses))}
    return [
        replace(item, responses=(item.responses[place],), votes=tuple(vote for vote in votes if vote))
        for place, votes in votes_on.items()
        if any(votes)
    ]


def _kind(answer: Answer) -> str | None:
    return {"ranked": "ranking", "rated": "rating", "skip": None}.get(answer.verdict, "pairwise")


def _as_preference(answer: Answer) -> Answer:
    if answer.verdict != "ranked":
        return answer
    if len(answer.ranking) == 1:
        return replace(answer, verdict="tie", ranking=())
    return replace(answer, verdict="preferred", winner=answer.ranking[0][0], ranking=())


def _on(vote: Vote, place: str) -> Vote | None:
    """What a vote says of one response, as a vote on an item of that response alone."""
    if vote.answer.verdict == "skip":
        return vote
    ratings = {aspect: {"0": scores[place]} for aspect, scores in vote.answer.ratings.items() if place in scores}
    return replace(vote, answer=replace(vote.answer, ratings=ratings)) if ratings else None


def _joined(items: Iterable[tuple[int, Item]]) -> list[tuple[int, Item]]:
    """One annotator's ratings of one response, on lines of their own for each aspect, as one item."""
    joined: list[tuple[int, Item]] = []
    places: dict[str, int] = {}
    for line, item in items:
        key = content_id(list(item.prompt), item.responses, [vote.annotator for vote in item.votes])
        before = joined[places[key]] if key in places else None
        whole = _together(before[1], item) if before else None
        if before and whole:
            joined[places[key]] = (before[0], whole)
        else:
            places[key] = len(joined)
            joined.append((line, item))
    return joined


def _together(one: Item, other: Item) -> Item | None:
    """Both items' ratings as one; None if they rate the same aspect."""
    votes = []
    for first, second in zip(one.votes, other.votes, strict=True):
        if first.answer.ratings.keys() & second.answer.ratings.keys() or not second.answer.ratings:
            return None
        ratings = {**first.answer.ratings, **second.answer.ratings}
        votes.append(replace(first, answer=replace(first.answer, verdict="rated", ratings=ratings)))
    return replace(one, votes=tuple(votes))


def _draft(line: int, item: Item, campaign: Campaign, version: int, format: str, gold: bool) -> _Draft:
    """The item in the store's records, checked; `Refused` or `UserError` if the campaign cannot hold it."""
    prompt = Prompt(item.prompt, item.references)
    candidates = tuple(Candidate(prompt.id, text, {"imported": format}) for text in item.responses)
    ids = [candidate.id for candidate in candidates]
    votes = tuple(replace(vote, answer=in_ids(vote.answer, ids)) for vote in item.votes)
    known = _known(votes) if gold else None
    task = Task(prompt.id, tuple(ids), campaign.name, gold=known, version=version)
    check_task(task, campaign)
    for vote in votes:
        check_judgement(Judgement(task.id, "", task.candidates, vote.answer), task, campaign)
    return _Draft(line, prompt, candidates, task, () if gold else votes)


def _known(votes: Sequence[Vote]) -> Answer:
    """The one answer that all votes give, without its strength and the words around it."""
    answers = {repr(answer): answer for answer in (_bare(vote.answer) for vote in votes) if answer.verdict != "skip"}
    if len(answers) != 1:
        raise Refused("it has no known answer" if not answers else "its annotators disagree: no answer is known")
    return next(iter(answers.values()))


def _bare(answer: Answer) -> Answer:
    return replace(answer, strength=None, reason="", rationale="", rewrite="")


def _check_names(store: Store, drafts: Iterable[_Draft]) -> None:
    simulated = {annotator.name: annotator.simulated for annotator in store.annotators()}
    for draft in drafts:
        for vote in draft.votes:
            name = " ".join(vote.annotator.split())
            if simulated.setdefault(name, vote.simulated) != vote.simulated:
                raise UserError(
                    f'line {draft.line}: "{name}" is at once a person and a simulated annotator, in this file or in '
                    "the store. Give one of them another name. Nothing was imported."
                )


def _save_votes(
    store: Store, drafts: Sequence[_Draft], there: Mapping[str, Answer | None], refused: list[Refusal]
) -> Counter[str]:
    fresh: list[_Draft] = []
    for draft in drafts:
        if there.get(draft.task.id) is None:
            fresh.append(draft)
        else:
            refused.append(Refusal(draft.line, "these responses are a gold task in the store already"))
    names = {(vote.annotator, vote.simulated) for draft in fresh for vote in draft.votes}
    annotator_ids = {name: store.annotator(name, simulated).id for name, simulated in sorted(names)}
    overlaps: dict[int, list[_Draft]] = defaultdict(list)
    for draft in fresh:
        overlaps[max(1, sum(vote.answer.verdict != "skip" for vote in draft.votes))].append(draft)
    outcomes: Counter[str] = Counter()
    for overlap, group in overlaps.items():
        votes = [(draft, vote) for draft in group for vote in draft.votes]
        results = store.record_many(
            [_judgement(draft.task, annotator_ids[vote.annotator], vote.answer) for draft, vote in votes],
            prompts=[draft.prompt for draft in group],
            candidates=[candidate for draft in group for candidate in draft.candidates],
            tasks=[draft.task for draft in group],
            overlap=overlap,
        )
        outcomes.update(results)
        refused += [
            Refusal(draft.line, f'"{vote.annotator}" has judged this task before, and otherwise')
            for (draft, vote), result in zip(votes, results, strict=True)
            if result == "answered"
        ]
    return outcomes


def _judgement(task: Task, annotator_id: str, answer: Answer) -> Judgement:
    shown = display_order(task, annotator_id)  # no format says which side was which: a coin keeps the side test fair
    key = content_id("import", task.id, annotator_id, asdict(answer))
    return Judgement(task.id, annotator_id, shown, answer, key=key)


def _save_gold(
    store: Store, drafts: Sequence[_Draft], there: dict[str, Answer | None], refused: list[Refusal]
) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    fresh: list[_Draft] = []
    for draft in drafts:
        if draft.task.id not in there:
            there[draft.task.id] = draft.task.gold
            fresh.append(draft)
        elif there[draft.task.id] == draft.task.gold:
            outcomes["repeated"] += 1
        else:
            other = "a gold task with another answer" if there[draft.task.id] else "a task to be judged"
            refused.append(Refusal(draft.line, f"these responses are {other} in the store already"))
    store.add_prompts(draft.prompt for draft in fresh)
    store.add_candidates(candidate for draft in fresh for candidate in draft.candidates)
    store.add_tasks(draft.task for draft in fresh)
    return outcomes + Counter(taken=len(fresh))
