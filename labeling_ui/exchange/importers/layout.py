"""What the columns and questions of one file are, found once for the whole file and shown before anything is taken.

`Wishes` is what the user says of the file; `Layout` is that with what was found in it. A wish that the file does not
fit raises `UserError`. What a question of an annotation tool is for is decided in `tools/questions.py`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from foundation.errors import UserError
from foundation.files import Row
from labeling_ui.campaign import Campaign
from labeling_ui.exchange.importers.judged_items import Item, Parsed, Refusal, Refused, brief, fault
from labeling_ui.exchange.importers.rows import Source
from labeling_ui.exchange.importers.values import name_of

_SYSTEM = "system"
_SHOWN = 12
"""Names in a line; a file may have thousands of questions."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """The campaign that the judgements go to, and what the user says of the file.

    `columns` are the file's columns by the fields of the format; several for one field are joined. `question` is what
    decides. `scale` is the highest rating, in files that do not say it. `submitted` means that answers without a status
    are votes.
    """

    campaign: Campaign = field(default_factory=Campaign)
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    question: str | None = None
    scale: int | None = None
    submitted: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """One file in one format: the wishes, its columns with the number of rows that have each, its questions' roles."""

    format: str
    file: str
    wishes: Wishes
    rows: int
    columns: Mapping[str, int]
    read: Sequence[str]
    """The columns that are read."""
    named: bool
    """Whether any row says who judged."""
    roles: Mapping[str, str] = field(default_factory=dict)
    """What each question was taken for: preference, ranking, rating, rationale, or why it is ignored."""
    answers: Mapping[str, int] = field(default_factory=dict)

    def person(self, value: Any) -> str | None:
        """Who judged, by the name that the row gives; None for an unknown person among named ones."""
        return name_of(value) or (None if self.named else f"{self.format} (imported)")

    def lines(self) -> Iterator[str]:
        """What the columns and questions were taken for, to be read by people."""
        taken = [f"{to} = {' + '.join(names)}" for to, names in self.wishes.columns.items()]
        mapped = {name for names in self.wishes.columns.values() for name in names}
        taken += [name for name in self.read if name in self.columns and name not in mapped]
        ignored = [f"{name} ({self.columns[name]})" for name in self.columns if name not in {*self.read, *mapped}]
        if self.columns:
            yield f"columns: {_some(taken)}" + (f"; ignored: {_some(ignored)}" if ignored else "")
        for question in sorted(self.roles, key=lambda each: self.roles[each].startswith("ignored"))[:_SHOWN]:
            given = self.answers[question]
            yield f'question "{question}" ({given} {"answer" if given == 1 else "answers"}): {self.roles[question]}'
        if len(self.roles) > _SHOWN:
            yield f"... and {len(self.roles) - _SHOWN} more questions, ignored"


Parse = Callable[[Row, Layout], Parsed]


@dataclass(frozen=True, slots=True)
class Format:
    """How a record is read.

    `fields` are the columns that it reads, which `--map` can find elsewhere; in annotation tools they lie in the part
    of a record that `shown` gives. `identity` names a record: no two of a file may share it, unless columns of `apart`
    tell them apart. `people` are the columns that say who judged, `also` others that it reads. `questions` finds what
    the questions of a whole file are for.
    """

    parse: Parse
    fields: tuple[str, ...]
    identity: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    people: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    shown: Callable[[Row], Row] = lambda row: row
    questions: "Callable[[], Questions] | None" = None
    aspects_apart: bool = False
    """Whether each aspect of a rating has a row of its own."""


class Questions:
    """What the questions of a file are for: sees every row, then decides; `read` are the columns that it has found."""

    def __init__(self) -> None:
        self.read: dict[str, None] = {}

    def see(self, row: Row, columns: Mapping[str, Sequence[str]]) -> None:
        """Take note of a row's answers."""
        raise NotImplementedError

    def decide(self, wishes: Wishes, file: str) -> tuple[dict[str, str], dict[str, int]]:
        """The role of each question, and the number of its answers."""
        raise NotImplementedError


def find_layout(name: str, format: Format, source: Source, wishes: Wishes) -> Layout:
    """Read the whole file once; `UserError` if it is damaged, empty, or not as the wishes say."""
    _check_wishes(name, format, wishes)
    columns: Counter[str] = Counter()
    found: Counter[str] = Counter()
    rows, named = 0, False
    questions = format.questions() if format.questions else None
    for _, row in source.read():
        rows += 1
        if not isinstance(row, dict):
            continue
        shown = format.shown(row)
        columns.update(key for key, value in shown.items() if value is not None)
        found.update({each for names in wishes.columns.values() for each in names if _at(shown, each) is not None})
        named = named or any(row.get(each) not in (None, "") for each in format.people)
        if questions:
            questions.see(row, wishes.columns)
    if not rows:
        raise UserError(f"{source.name} holds no records.")
    for column in (each for names in wishes.columns.values() for each in names if not found[each]):
        raise UserError(f'{source.name} has no column "{column}": its columns are {_some(list(columns)) or "none"}.')
    roles, answers = questions.decide(wishes, source.name) if questions else ({}, {})
    known = [
        *format.fields,
        *format.identity,
        *format.apart,
        *format.people,
        *format.also,
        *(questions.read if questions else ()),
    ]
    read = [field for field in dict.fromkeys(known) if field not in (_SYSTEM, *wishes.columns)]
    return Layout(name, source.name, wishes, rows, columns, read, named, roles, answers)


def read_items(format: Format, source: Source, layout: Layout) -> Iterator[tuple[int, Item] | Refusal]:
    """Yield each usable item with its line, and a refusal for every other record and vote."""
    seen: dict[str, int] = {}
    for line, row in source.read():
        try:
            if not isinstance(row, dict):
                raise Refused(f"it is no record but {brief(row)}")
            _once(row, format, seen, line)
            parsed = list(format.parse(row, layout))
        except Refused as refused:
            yield Refusal(line, str(refused))
            continue
        for item in parsed:
            if isinstance(item, Refused):
                yield Refusal(line, str(item))
            elif reason := fault(item):
                yield Refusal(line, reason)
            else:
                yield line, item


def mapped(row: Row, columns: Mapping[str, Sequence[str]]) -> Row:
    """The row with the columns that were named found under the fields of the format.

    A column called "system" may be a model's name: it is the system's turn only where it is named.
    """
    return {
        **row,
        _SYSTEM: None,
        **{to: _together([_at(row, name) for name in names]) for to, names in columns.items()},
    }


def _at(row: Row, name: str) -> Any:
    """The value of a column; with dots, that of a field within, in lists of each element."""
    if name in row or "." not in name:
        return row.get(name)
    found: Any = row
    for part in name.split("."):
        if isinstance(found, list):
            found = [each.get(part) if isinstance(each, dict) else None for each in found]
        else:
            found = found.get(part) if isinstance(found, dict) else None
    return found


def _together(values: Sequence[Any]) -> Any:
    if len(values) == 1:
        return values[0]
    texts = [value.strip() for value in values if isinstance(value, str) and value.strip()]
    return "\n\n".join(texts) or None


def _check_wishes(name: str, format: Format, wishes: Wishes) -> None:
    for to in wishes.columns:
        if to not in format.fields:
            raise UserError(f'--map {to}=...: {name} has no field "{to}". It reads {", ".join(format.fields)}.')
    if wishes.question and not format.questions:
        raise UserError(f"--question: {name} has no questions. It is for files of annotation tools.")
    campaign = wishes.campaign
    if wishes.scale is not None and wishes.scale != campaign.scale:
        raise UserError(
            f'the file\'s scale goes to {wishes.scale}, that of the campaign "{campaign.name}" to {campaign.scale}: '
            "ratings are never re-read on another scale. Bring them into a campaign of their own, as with --set "
            f"label.name=scale{wishes.scale} --set label.kind=rating --set label.scale={wishes.scale}."
        )


def _once(row: Row, format: Format, seen: dict[str, int], line: int) -> None:
    if all(row.get(name) is None for name in format.identity):
        return
    names = (*format.identity, *format.apart)
    given = [(name, row[name]) for name in names if row.get(name) is not None]
    identity = "\n".join(repr(part) for _, part in given)
    if seen.setdefault(identity, line) != line:
        called = ", ".join(f"{name} {brief(part)}" for name, part in given)
        raise Refused(f"the record with {called} is in the file already, at {seen[identity]}")


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
