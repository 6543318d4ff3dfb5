"""Other people's judgements, brought into the label store.

`importers/` knows how each format is laid out, `drafts.py` makes tasks of its items. A file is surveyed to its end, and
what its columns and questions were taken for can be shown, before anything is stored. One that is damaged, or can be
read in two ways, leaves no trace. Records are named by their content, so that importing a file twice adds nothing. A
file is read anew for each pass, so that its size does not matter. With gold, its answers become known ones.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from foundation.errors import UserError
from labeling_ui.assignment.display_order import display_order
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Judgement, Task, key_of_import
from labeling_ui.exchange.drafts import Draft, drafts_of
from labeling_ui.exchange.importers.judged_items import Item, Refusal
from labeling_ui.exchange.importers.layout import Format, Layout, Wishes, find_layout, read_items
from labeling_ui.exchange.importers.registry import FORMATS, UNJUDGED
from labeling_ui.exchange.importers.rows import Source, open_source
from labeling_ui.store import tables
from labeling_ui.store.database import rows_in
from labeling_ui.store.store import Store

_CHUNK = 500  # tasks a transaction


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What was taken (judgements, or gold tasks), what was there already, and what was refused, by line, and why."""

    taken: int
    already_there: int
    refused: list[Refusal]


@dataclass(frozen=True, slots=True)
class Survey:
    """A file and how it will be read: `gold` if its answers are known, `simulated` if a program gave them."""

    format: Format
    source: Source
    layout: Layout
    gold: bool = False
    simulated: bool = False
    version: int = 1
    """Of the campaign."""

    def drafts(self) -> Iterator[Draft | Refusal]:
        """The tasks and votes of the file, and all that is refused."""
        return drafts_of(
            self.format, self.source, self.layout, gold=self.gold, simulated=self.simulated, version=self.version
        )

    def items(self) -> Iterator[tuple[int, Item] | Refusal]:
        """The file's items as they stand in it; of responses that nobody has judged, each by itself."""
        return read_items(self.format, self.source, self.layout)


def survey_file(
    format: str, file: str | Path, wishes: Wishes, *, gold: bool = False, simulated: bool = False
) -> Survey:
    """Find out what the columns and questions of a file are; stores nothing.

    `UserError` if the file is damaged, holds no records, or is not as `wishes` says.
    """
    if format not in FORMATS:
        raise UserError(f'unknown format "{format}": expected one of {", ".join(FORMATS)}.')
    if format == UNJUDGED and (gold or simulated):
        raise UserError(f"--gold and --simulated are for judgements, and {format} have none.")
    reader, source = FORMATS[format].load(), open_source(file)
    return Survey(reader, source, find_layout(format, reader, source, wishes), gold, simulated)


def import_file(
    store: Store, format: str, file: str | Path, campaign: Campaign | None = None, *, gold: bool = False
) -> ImportReport:
    """Bring a file's judgements into a campaign; `take` with a survey of nothing but the file itself."""
    wishes = Wishes(campaign=campaign_in(store, campaign or Campaign()))
    return take(store, survey_file(format, file, wishes, gold=gold))


def campaign_in(store: Store, wanted: Campaign) -> Campaign:
    """The campaign of that name as the store has it: what is there keeps its settings.

    `UserError` if it has tasks of another kind: what is in a file is no reason to ask people anything else.
    """
    known = {each.name: each for each in store.campaigns()}.get(wanted.name)
    tasks = store.tasks_by_campaign().get(wanted.name, 0)
    if known is None or (known.kind != wanted.kind and not tasks):
        return wanted
    if known.kind != wanted.kind:
        raise UserError(
            f'the campaign "{known.name}" asks for {known.kind} ({tasks} tasks), and this import is for {wanted.kind}. '
            f"Give it a campaign of its own, as with --set label.name={wanted.kind} --set label.kind={wanted.kind}; or "
            f"change what the campaign asks first, with `rlhf label --set label.kind={wanted.kind}`. Nothing was "
            "imported."
        )
    return known


def take(store: Store, survey: Survey) -> ImportReport:
    """Store a file's judgements, with the annotators if the data names them.

    With gold, each item becomes a gold task, and no judgement is stored. A file in which a person and a simulated
    annotator have the same name raises `UserError` and stores nothing.
    """
    campaign = survey.layout.wishes.campaign
    survey = replace(survey, version=store.version(campaign.name))
    known = {each.name: each for each in store.campaigns()}.get(campaign.name)
    if _check_names(store, survey) and campaign != known:
        store.add_campaign(campaign)
    refused: list[Refusal] = []
    drafts = _kept(survey, refused)
    save = _save_gold if survey.gold else _save_votes
    outcomes: Counter[str] = Counter()
    while chunk := list(islice(drafts, _CHUNK)):
        outcomes += save(store, chunk, _there(store, chunk), refused)
    refused.sort(key=lambda refusal: refusal.line)
    return ImportReport(outcomes["taken"], outcomes["repeated"], refused)


def _kept(survey: Survey, refused: list[Refusal]) -> Iterator[Draft]:
    for each in survey.drafts():
        if isinstance(each, Refusal):
            refused.append(each)
        else:
            yield each


def _check_names(store: Store, survey: Survey) -> bool:
    """Whether there is anything to store; `UserError` if a name is a person's and a program's."""
    simulated = {annotator.name: annotator.simulated for annotator in store.annotators()}
    found = False
    for draft in _kept(survey, []):
        found = True
        for said in draft.votes:
            if simulated.setdefault(said.annotator, said.simulated) != said.simulated:
                raise UserError(
                    f'line {draft.line}: "{said.annotator}" is at once a person and a simulated annotator, in this '
                    "file or in the store. Give one of them another name. Nothing was imported."
                )
    return found


def _there(store: Store, drafts: Sequence[Draft]) -> dict[str, Answer | None]:
    """The tasks of these that are in the store already, with their known answers."""
    ids = [draft.task.id for draft in drafts]
    with store.database.read() as connection:
        return {row.id: tables.task_of(row).gold for row in rows_in(connection, tables.tasks.c.id, ids)}


def _save_votes(
    store: Store, drafts: Sequence[Draft], there: Mapping[str, Answer | None], refused: list[Refusal]
) -> Counter[str]:
    fresh: list[Draft] = []
    for draft in drafts:
        if there.get(draft.task.id) is None:
            fresh.append(draft)
        else:
            refused.append(Refusal(draft.line, "these responses are a gold task in the store already"))
    names = {(said.annotator, said.simulated) for draft in fresh for said in draft.votes}
    annotator_ids = {name: store.annotator(name, simulated).id for name, simulated in sorted(names)}
    overlaps: dict[int, list[Draft]] = defaultdict(list)
    for draft in fresh:
        overlaps[max(1, sum(said.answer.verdict != "skip" for said in draft.votes))].append(draft)
    outcomes: Counter[str] = Counter()
    for overlap, group in overlaps.items():
        votes = [(draft, said) for draft in group for said in draft.votes]
        results = store.record_many(
            [_judgement(draft.task, annotator_ids[said.annotator], said.answer) for draft, said in votes],
            prompts=[draft.prompt for draft in group],
            candidates=[candidate for draft in group for candidate in draft.candidates],
            tasks=[draft.task for draft in group],
            overlap=overlap,
        )
        outcomes.update(results)
        refused += [
            Refusal(draft.line, f'"{said.annotator}" has judged this task before, and otherwise')
            for (draft, said), result in zip(votes, results, strict=True)
            if result == "answered"
        ]
    return outcomes


def _judgement(task: Task, annotator_id: str, answer: Answer) -> Judgement:
    shown = display_order(task, annotator_id)  # no format says which side was which: a coin keeps the side test fair
    return Judgement(task.id, annotator_id, shown, answer, key=key_of_import(task.id, annotator_id, answer))


def _said(known: Answer | None) -> Answer | None:
    """A known answer without its reason, which stays as it was first taken."""
    return known and replace(known, rationale="")


def _save_gold(
    store: Store, drafts: Sequence[Draft], there: dict[str, Answer | None], refused: list[Refusal]
) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    fresh: list[Draft] = []
    for draft in drafts:
        if draft.task.id not in there:
            there[draft.task.id] = draft.task.gold
            fresh.append(draft)
        elif _said(there[draft.task.id]) == _said(draft.task.gold):
            outcomes["repeated"] += 1
        else:
            other = "a gold task with another answer" if there[draft.task.id] else "a task to be judged"
            refused.append(Refusal(draft.line, f"these responses are {other} in the store already"))
    store.add_tasks(
        (draft.task for draft in fresh),
        prompts=[draft.prompt for draft in fresh],
        candidates=[candidate for draft in fresh for candidate in draft.candidates],
    )
    return outcomes + Counter(taken=len(fresh))
