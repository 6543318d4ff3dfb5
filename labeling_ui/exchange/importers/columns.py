"""Any table of responses and a column that says which is better; `--map` names the columns.

    prompt, system                    the prompt, as text, as messages, or as a dialogue of hh-rlhf's
    response_1 to response_9          the responses, a column each; or `responses`, a list
    better                            names the better response by its column, or by the number or letter that ends it;
                                      of a list, by its place, counted from 0
    first_is_better                   true or 1 where the first of two is better
    strength                          from -3 (the first is much better) to 3 (the second is); 0 is a tie
    score_1 to score_9, or scores     the higher, the better
    ranks                             a list; 1 is the best, equal numbers are ties
    rationale, annotator              words; who judged

Exactly one column, or list, decides. A published set that has several is read by the one that is named.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from foundation.errors import UserError
from foundation.files import Row
from labeling_ui.data_model import STRENGTHS, Answer
from labeling_ui.exchange.importers.judged_items import Item, Parsed, Refused, Vote, brief, preferred
from labeling_ui.exchange.importers.layout import Format, Layout, Questions, Wishes, mapped
from labeling_ui.exchange.importers.messages import prompt_of, reply_of
from labeling_ui.exchange.importers.tools.fields import PLACES, place_by_letter, place_of, plain
from labeling_ui.exchange.importers.tools.questions import BOTH_BAD, TIES
from labeling_ui.exchange.importers.values import given, listed, number, whole, yes_or_no

_SCORES = tuple(f"score_{number}" for number in range(1, 10))
_DECIDING = ("better", "first_is_better", "strength", *_SCORES, "scores", "ranks")
_FIELDS = ("prompt", "system", *PLACES, "responses", *_DECIDING, "rationale", "annotator")
_LIKELY = re.compile(r"(?i)better|best|prefer|safer|label|winner|score|rank|strength")
_MOST = 1000  # different values of a column that are remembered


def columns(row: Row, layout: Layout) -> Parsed:
    """One row: the responses, and what the deciding column says of them."""
    named = layout.wishes.columns
    row = mapped(row, named)
    prompt = prompt_of(given(row, "prompt"), row.get("system"))
    places = [place for place in PLACES if row.get(place) is not None]
    said = [row[place] for place in places] or listed(row, "responses")
    if len(said) < 2:
        raise Refused(
            "it has fewer than two responses: name them, with --map response_1=COLUMN --map response_2=COLUMN"
        )
    names = [named.get(place, (place,))[0] for place in places] or [str(place) for place in range(len(said))]
    rationale = row.get("rationale")
    scores = [row.get(_SCORES[PLACES.index(place)]) for place in places] or [row.get(each) for each in _SCORES]
    answer = _verdict({**row, "score": scores[: len(said)]}, names, deciding(row))
    answer = replace(answer, rationale=rationale.strip() if isinstance(rationale, str) else "")
    responses = tuple(reply_of(each, prompt) for each in said)
    return [Item(prompt, responses, (Vote(layout.person(row.get("annotator")), answer),))]


def deciding(row: Row) -> str:
    """The field that says which response is better."""
    fields = [field for field in _DECIDING if row.get(field) is not None]
    kinds = {"score" if field in _SCORES else field for field in fields}
    if len(kinds) > 1:
        raise Refused(f"both {' and '.join(sorted(kinds))} could decide: give one of the columns another name")
    if not kinds:
        likely = [name for name in row if _LIKELY.search(name)]
        shown = ", ".join(likely) or ", ".join(list(row)[:12])
        raise Refused(
            f"nothing says which response is better: name the column that does (of {shown}), as in --map better=COLUMN"
        )
    return kinds.pop()


def _verdict(row: Row, names: Sequence[str], decides: str) -> Answer:
    if decides in ("score", "scores", "ranks"):
        values = [None if value is None else number(value, "the score") for value in listed(row, decides)]
        if len(values) != len(names):
            raise Refused(f"{len(values)} numbers for {len(names)} responses: expected one for each")
        return _by_numbers(values, best_is_low=decides == "ranks")
    if len(names) != 2:
        raise Refused(f'"{decides}" compares two responses, and there are {len(names)}: rank them by scores or ranks')
    if decides == "first_is_better":
        return preferred(int(not yes_or_no(row[decides], decides)))
    if decides == "strength":
        strength = whole(row[decides], "the strength")
        if abs(strength) not in (0, *STRENGTHS):
            raise Refused(f"the strength {strength} is not on the scale from -3 to 3")
        return preferred(int(strength > 0), abs(strength)) if strength else preferred(None)
    label = _label(row[decides])
    if label == "None":  # as Python prints a label that is missing
        raise Refused('"None" may be a missing label, or mean neither: leave the cell empty, or write "both bad"')
    if plain(label) in TIES:
        return Answer("tie")
    if plain(label) in BOTH_BAD:
        return Answer("both_bad")
    place = place_of(label, names)
    place = place_by_letter(label, names) if place is None else place
    if place is None:
        raise Refused(f"{brief(label)} names none of the responses ({', '.join(names)})")
    return preferred(place)


def _by_numbers(values: Sequence[float | None], best_is_low: bool) -> Answer:
    """The order of the responses that have a number; of two, the better."""
    known = sorted({value for value in values if value is not None}, reverse=not best_is_low)
    groups = tuple(tuple(str(i) for i, value in enumerate(values) if value == each) for each in known)
    if sum(map(len, groups)) < 2:
        raise Refused("fewer than two responses have a number")
    if len(values) == 2:
        return preferred(None if len(groups) == 1 else int(groups[0][0]))
    return Answer("ranked", ranking=groups)


def _label(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


class _Better(Questions):
    """The values of `better`: numbers that count from 0 do not name columns that count from 1."""

    def __init__(self) -> None:
        super().__init__()
        self._values: set[str] = set()
        self._names: list[str] = []
        self._longest = 0  # of the lists of responses

    def see(self, row: Row, columns: Mapping[str, Sequence[str]]) -> None:
        found = mapped(row, columns)
        if found.get("better") is not None and len(self._values) < _MOST:
            self._values.add(_label(found["better"]).strip())
        places = [place for place in PLACES if found.get(place) is not None]
        self._names = self._names or [columns.get(place, (place,))[0] for place in places]
        with suppress(Refused):
            self._longest = max(self._longest, 0 if places else len(listed(found, "responses")))

    def decide(self, wishes: Wishes, file: str) -> tuple[dict[str, str], dict[str, int]]:
        if wishes.question:
            raise UserError("--question: columns have none. Name the column that decides, as in --map better=COLUMN.")
        numbers = sorted(value for value in self._values if value.isdecimal())
        names = self._names or [str(place) for place in range(self._longest)]
        if names and any(place_of(value, names) is None for value in numbers):
            column = wishes.columns.get("better", ("better",))[0]
            ways = (
                "Rename the columns, or map first_is_better."
                if self._names
                else "The places in a list count from 0: count so, or give each response a column."
            )
            raise UserError(
                f'"{column}" of {file} holds {", ".join(numbers[:6])}, and the responses are {", ".join(names)}: '
                f"the two count differently. {ways}"
            )
        return {}, {}


FORMAT = Format(columns, _FIELDS, people=("annotator",), questions=_Better)
