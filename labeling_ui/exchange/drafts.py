"""Imported items as records of the store: tasks of one campaign with the votes on them, checked, not yet stored.

An item of another kind of judgement is refused, a rating of several responses becomes a task for each, and one odd vote
refuses itself alone.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from foundation.errors import UserError
from foundation.files import content_id
from labeling_ui.assignment.answer_validation import check_judgement, check_task
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Candidate, Judgement, Prompt, Task
from labeling_ui.exchange.importers.judged_items import Item, Refusal, Refused, Vote, in_ids
from labeling_ui.exchange.importers.layout import Format, Layout, read_items
from labeling_ui.exchange.importers.rows import Source


@dataclass(frozen=True, slots=True)
class Said:
    """One vote on a task, in candidate ids; everybody has a name here."""

    annotator: str
    answer: Answer
    simulated: bool


@dataclass(frozen=True, slots=True)
class Draft:
    """A task that a line of the file describes, with all that it needs, and the votes on it."""

    line: int
    item: Item
    prompt: Prompt
    candidates: tuple[Candidate, ...]
    task: Task
    votes: tuple[Said, ...]


def drafts_of(
    format: Format, source: Source, layout: Layout, *, gold: bool, simulated: bool, version: int
) -> Iterator[Draft | Refusal]:
    """Every task of a file, and a refusal of all else; the same each time that the file is read."""
    campaign = layout.wishes.campaign
    strangers: Counter[str] = Counter()
    for line, item in _items(format, source, layout):
        if isinstance(item, Refusal):
            yield item
            continue
        if simulated:
            item = replace(item, votes=tuple(_by_program(vote) for vote in item.votes))
        try:
            yield from _drafts(line, item, campaign, version, layout.format, gold, strangers)
        except (Refused, UserError) as error:
            yield Refusal(line, str(error))


def _items(format: Format, source: Source, layout: Layout) -> Iterator[tuple[int, Item | Refusal]]:
    """The items as tasks of the campaign's kind."""
    campaign = layout.wishes.campaign
    found: list[tuple[int, Item]] = []
    for each in read_items(format, source, layout):
        if isinstance(each, Refusal):
            yield each.line, each
            continue
        line, item = each
        try:
            parts = [(line, part) for part in _fitting(item, campaign)]
        except Refused as error:
            yield line, Refusal(line, str(error))
            continue
        if format.aspects_apart:
            found += parts
        else:
            yield from parts
    yield from _joined(found)


def _fitting(item: Item, campaign: Campaign) -> Iterable[Item]:
    """The item as tasks of this campaign; `Refused` if it holds another kind of judgement."""
    kinds = {_kind(vote.answer) for vote in item.votes} - {None}
    kind = kinds.pop() if kinds else campaign.kind
    if kind == "ranking" and campaign.kind == "pairwise" and len(item.responses) == 2:
        votes = tuple(replace(vote, answer=_as_preference(vote.answer)) for vote in item.votes)
        return [replace(item, votes=votes)]
    if kind != campaign.kind:
        scales = {vote.scale for vote in item.votes} - {None}
        scale = f" --set label.scale={scales.pop()}" if len(scales) == 1 else ""
        raise Refused(
            f'it is {kind}, and the campaign "{campaign.name}" is {campaign.kind}: bring it into a campaign of its own '
            f"kind, as with --set label.name={kind} --set label.kind={kind}{scale}"
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
    """Both items' ratings as one; None if they rate the same aspect, or nobody is named."""
    votes = []
    for first, second in zip(one.votes, other.votes, strict=True):
        apart = first.annotator is None or first.scale != second.scale or first.simulated != second.simulated
        if apart or first.answer.ratings.keys() & second.answer.ratings.keys() or not second.answer.ratings:
            return None
        ratings = {**first.answer.ratings, **second.answer.ratings}
        said = dict.fromkeys(each.answer.rationale for each in (first, second) if each.answer.rationale)
        answer = replace(first.answer, verdict="rated", ratings=ratings, rationale="\n\n".join(said))
        votes.append(replace(first, answer=answer))
    return replace(one, votes=tuple(votes))


def _by_program(vote: Vote) -> Vote:
    name = None if vote.annotator is None else f"{vote.annotator.removesuffix(' (imported)')} (imported, simulated)"
    return vote if vote.simulated else replace(vote, simulated=True, annotator=name)


def _drafts(
    line: int, item: Item, campaign: Campaign, version: int, format: str, gold: bool, strangers: Counter[str]
) -> Iterator[Draft | Refusal]:
    """The item in the store's records, and a refusal for each vote that the campaign cannot hold."""
    prompt = Prompt(item.prompt, item.references)
    sources = item.sources or ({"imported": format},) * len(item.responses)
    candidates = tuple(
        Candidate(prompt.id, text, source) for text, source in zip(item.responses, sources, strict=True)
    )  # fmt: skip
    ids = [candidate.id for candidate in candidates]
    known = _known(item.votes, ids) if gold else None
    task = Task(prompt.id, tuple(ids), campaign.name, gold=known, version=version)
    check_task(task, campaign)
    said: list[Said] = []
    for vote in item.votes:
        answer = in_ids(vote.answer, ids)
        try:
            if vote.scale not in (None, campaign.scale) and answer.verdict == "rated":
                raise Refused(_OTHER_SCALE.format(vote.scale, campaign.name, campaign.scale, vote.scale, vote.scale))
            check_judgement(Judgement(task.id, "", task.candidates, answer), task, campaign)
        except (Refused, UserError) as error:
            yield Refusal(line, str(error))
            continue
        said.append(Said(vote.annotator or _stranger(task, answer, format, strangers), answer, vote.simulated))
    if said or not item.votes:
        yield Draft(line, item, prompt, candidates, task, () if gold else tuple(said))


_OTHER_SCALE = (
    'it is on a scale to {}, and that of the campaign "{}" goes to {}: ratings are never re-read on another scale. '
    "Bring them into a campaign of their own, as with --set label.name=scale{} --set label.kind=rating --set "
    "label.scale={}"
)


def _stranger(task: Task, answer: Answer, format: str, strangers: Counter[str]) -> str:
    """A name for somebody whom the file does not name, the same whenever it is imported: each is another person."""
    said = content_id(task.id, repr(answer))
    strangers[said] += 1
    return f"{format} unknown {content_id(said, strangers[said])}"


def _known(votes: Sequence[Vote], ids: Sequence[str]) -> Answer:
    """The one answer that all votes give, without its strength, with the reasons that they give for it."""
    answers = {repr(answer): answer for answer in map(_bare, votes) if answer.verdict != "skip"}
    if len(answers) != 1:
        raise Refused("it has no known answer" if not answers else "its annotators disagree: no answer is known")
    reasons = dict.fromkeys(vote.answer.rationale for vote in votes if vote.answer.rationale)
    return replace(in_ids(next(iter(answers.values())), ids), rationale="\n\n".join(reasons))


def _bare(vote: Vote) -> Answer:
    return replace(vote.answer, strength=None, reason="", rationale="", rewrite="")
