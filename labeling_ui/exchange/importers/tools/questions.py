"""What the questions of an annotation tool's file are for: found over the whole file, named by the user, or refused.

Exports do not say what a question was. One whose answers name the responses says which is better; one that orders them
ranks; a number rates; words are at most a rationale. Where two questions could decide, the file is refused until one is
named: nothing is guessed from an answer alone. All other questions are ignored and counted.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from foundation.errors import UserError
from labeling_ui.exchange.importers.layout import Wishes
from labeling_ui.exchange.importers.tools.fields import place_by_name, place_of, plain, rated

PREFERENCE, RANKING, RATING, RATIONALE = "preference", "ranking", "rating", "rationale"
TIES = {"tie", "equal", "same", "both", "bothgood", "botharegood", "equallygood", "nopreference"}
BOTH_BAD = {"bothbad", "botharebad", "tiebothbad", "neither", "none", "noneofthem"}
_OF_PAIRS_ALONE = {
    "tie",
    "bothgood",
    "botharegood",
    "equallygood",
    "nopreference",
    "bothbad",
    "botharebad",
    "tiebothbad",
}
_DECIDES = re.compile(
    r"(?i)prefer|better|best|winn?er|chosen|choice|choose|compar|pairwise|rank|order|vote|verdict|which"
)
_EXPLAINS = re.compile(r"(?i)comment|why|reason|rational|explan|explain|justif|feedback|note|remark")
_SHOWN = 6

Shape = Literal["text", "label", "pair", "number", "order", "odd", "other"]


class Said(NamedTuple):
    """One answer to a question: a `label` is a choice or words, where the tool does not tell; a `text` is words.

    An `order` holds groups of equals, best first. `odd` is what cannot be read, and its value is the reason.
    """

    question: str
    shape: Shape
    value: Any
    about: str = ""
    """The field that the question is attached to, where the tool says it."""


@dataclass(slots=True)
class Evidence:
    """What the answers to one question look like."""

    shapes: Counter[str] = field(default_factory=Counter)
    by_name: int = 0  # of pairs: names a response in full, or its side
    by_end: int = 0  # of pairs: says "2" or "B"
    neither: int = 0  # of pairs: a word for a tie, or for both bad
    surely_neither: int = 0  # of these: a word that says so of nothing but a pair
    beside_sides: int = 0  # given together with a side
    other: int = 0
    wordy: int = 0
    ordered: int = 0  # orders of two responses or more
    ordered_pairs: int = 0
    whole: int = 0  # orders of all responses
    odd_orders: int = 0
    aspects: set[str] = field(default_factory=set)
    highest: float = 0

    @property
    def count(self) -> int:
        """How many answers there are."""
        return self.shapes.total()

    def add(self, said: Said, names: Sequence[str]) -> None:
        """Take note of an answer about responses of these names."""
        self.shapes[said.shape] += 1
        if said.shape == "pair":
            self.by_name += 1
        elif said.shape in ("label", "text"):
            self._add_words(str(said.value), names if said.shape == "label" and len(names) == 2 else ())
        elif said.shape == "order":
            self._add_order(said.value, names)
        elif said.shape == "number":
            self.highest = max(self.highest, said.value)
            found = rated(said.question, names, said.about)
            self.aspects |= {found[0]} if found else set()

    def _add_words(self, words: str, names: Sequence[str]) -> None:
        if names and plain(words) in TIES | BOTH_BAD:
            self.neither += 1
            self.surely_neither += plain(words) in _OF_PAIRS_ALONE
        elif names and (place_by_name(words, names) is not None or plain(words) in ("left", "right")):
            self.by_name += 1
        elif names and place_of(words, names) is not None:
            self.by_end += 1
        else:
            self.other += 1
        self.wordy += len(words.split()) > 2

    def _add_order(self, value: Sequence[Sequence[str]], names: Sequence[str]) -> None:
        places = [place_of(each, names) for group in value for each in group]
        if len(places) > 1 and None not in places:
            self.ordered += 1
            self.ordered_pairs += len(names) == 2
            self.whole += len(places) == len(names)
        else:
            self.odd_orders += 1

    def prefers(self, question: str) -> bool:
        """Whether it says which of two responses is better."""
        judging = self.by_name + self.by_end + self.neither
        named = _DECIDES.search(question) and not _EXPLAINS.search(question)
        if self.by_name == 0 and not (judging and named):
            return False
        return judging >= self.other and judging > 0

    @property
    def completes_sides(self) -> bool:
        """Whether all it says is that a pair is tied, or both are bad: a control beside one that offers two sides."""
        return 0 < self.surely_neither == self.count

    def ranks(self, question: str) -> bool:
        """Whether it orders responses: lists of names are choices of several too, and then vary in length."""
        if not self.ordered or self.ordered < self.odd_orders:
            return self.shapes["odd"] > 0 and not self.odd_orders
        return bool(_DECIDES.search(question)) or (self.whole == self.ordered and not self.odd_orders)

    def explains(self, question: str) -> bool:
        """Whether it is free text."""
        words = self.shapes["text"] + self.shapes["label"]
        if not words or self.shapes.total() > words:
            return False
        return bool(self.shapes["text"] or _EXPLAINS.search(question)) or 2 * self.wordy > words


def decide(found: Mapping[str, Evidence], wishes: Wishes, file: str) -> dict[str, str]:
    """The role of each question; `UserError` if none decides, or more than one could."""
    kind = wishes.campaign.kind
    suited = {name: role for name, each in found.items() if (role := _suits(name, each, kind))}
    sides = [name for name in suited if found[name].shapes["pair"]]
    ties = [name for name, each in found.items() if each.completes_sides] if len(sides) == 1 else []
    alone = [name for name in ties if not found[name].beside_sides]
    suited |= dict.fromkeys(ties, PREFERENCE)  # where sides and ties come together, one of them must be named
    suited = {name: role for name, role in suited.items() if name not in alone}
    if wishes.question is not None:
        if wishes.question not in found:
            raise UserError(f'{file} has no question "{wishes.question}": it has {_some(found) or "none"}.')
        suited = {wishes.question: _as_named(wishes.question, found[wishes.question], wishes, file)}
    elif kind == "rating":
        suited = {name: role for name, role in suited.items() if found[name].aspects & set(wishes.campaign.aspects)}
    elif len(suited) > 1:
        raise UserError(
            f"{len(suited)} questions of {file} could say which response is better: {_some(suited)}. Name the one that "
            f"does, as in --question {_typed(next(iter(suited)))}."
        )
    if found and not suited:
        raise UserError(_none(found, wishes, file))
    if kind == "rating" and suited:
        _check_scale(max(found[name].highest for name in suited), wishes, file)
    roles = {}
    for name, each in found.items():
        roles[name] = suited.get(name) or (
            RATIONALE if each.explains(name) and not each.prefers(name) else _ignored(each)
        )
    if suited.keys() == {*sides}:
        roles |= dict.fromkeys(alone, PREFERENCE)
    return roles


def _suits(name: str, each: Evidence, kind: str) -> str | None:
    if kind == "rating":
        return RATING if each.aspects else None
    if each.ranks(name) and (kind == "ranking" or each.ordered_pairs):
        return RANKING
    return PREFERENCE if kind == "pairwise" and each.prefers(name) else None


def _as_named(name: str, each: Evidence, wishes: Wishes, file: str) -> str:
    """The role of the question that the user names, by the shape of its answers."""
    kind = wishes.campaign.kind
    shapes = {"pairwise": ("label", "pair", "order"), "ranking": ("order",), "rating": ("number",)}[kind]
    usual = max((shape for shape in shapes if each.shapes[shape]), key=lambda shape: each.shapes[shape], default=None)
    if usual is None:
        raise UserError(
            f'the answers to "{name}" in {file} are {_shape(each)}; the campaign "{wishes.campaign.name}" is {kind}. '
            "Name another question, or bring it into a campaign of its own kind, with --set label.name and label.kind."
        )
    return {"number": RATING, "order": RANKING}.get(usual, PREFERENCE)


def _none(found: Mapping[str, Evidence], wishes: Wishes, file: str) -> str:
    """Why no question can be used, and what to do."""
    kind = wishes.campaign.kind
    others = {
        other: names
        for other in ("pairwise", "ranking", "rating")
        if other != kind and (names := [name for name, each in found.items() if _suits(name, each, other)])
    }
    aspects = sorted({aspect for each in found.values() for aspect in each.aspects})
    if kind == "rating" and aspects:
        return (
            f"{file} rates {_some(aspects)}, and the aspects of the campaign are {', '.join(wishes.campaign.aspects)}: "
            f"say --set label.aspects='[{', '.join(aspects[:_SHOWN])}]'."
        )
    apart = [name for name, each in found.items() if each.shapes["number"] and not each.aspects]
    if apart and (kind == "rating" or len(apart) == len(found)):
        return (
            f"{file} rates records with several responses, and {_some(apart)} does not say which one is rated: it is "
            "one rating for all of them. Name the response in the question, as in response1-helpful."
        )
    if others:
        other, names = next(iter(others.items()))
        return (
            f'{_some(names)} in {file} is {other}, and the campaign "{wishes.campaign.name}" is {kind}: bring it into '
            f"a campaign of its own kind, as with --set label.name={other} --set label.kind={other}."
        )
    return (
        f"no question of {file} can be told to say which response is better: it has {_some(found)}. Name the one that "
        f"does, as in --question {_typed(next(iter(found)))}."
    )


def _check_scale(highest: float, wishes: Wishes, file: str) -> None:
    if wishes.scale is None:
        raise UserError(
            f"{file} does not say how far the scale of its ratings goes (the highest is {highest:g}). Say it, as in "
            f"--scale {wishes.campaign.scale}; the campaign's goes to {wishes.campaign.scale}."
        )


def _ignored(each: Evidence) -> str:
    return f"ignored ({_shape(each)})"


def _shape(each: Evidence) -> str:
    words = {
        "text": "text", "label": "words", "pair": "sides", "number": "numbers", "order": "lists", "odd": "unreadable",
        "other": "of a kind that says nothing of the responses",
    }  # fmt: skip
    return words[max(each.shapes, key=lambda shape: each.shapes[shape])]


def _some(names: Iterable[str]) -> str:
    listed = [f'"{name}"' for name in names]
    shown = " and ".join(listed) if len(listed) == 2 else ", ".join(listed[:_SHOWN])
    return shown if len(listed) <= _SHOWN else f"{shown} and {len(listed) - _SHOWN} more"


def _typed(name: str) -> str:
    return name if re.fullmatch(r"[\w.-]+", name) else f"'{name}'"
