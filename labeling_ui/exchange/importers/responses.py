"""Responses that nobody has judged: two models' outputs, a log, the turns of a chat page.

    {"prompt", "response_1", "response_2"}       two columns or more, also called response_a, answer2 and the like
    {"prompt", "responses": [...]}               a list of texts, or of objects with a text and a "model"
    {"prompt", "response", "model"}              a row each; rows of one prompt belong together

What wrote a response is kept with it, and no annotator sees it: the row's `model`, `model_1`, `model_a` and the like,
else the column. Each response is an item of its own; `pipeline/judgements.py` makes tasks of those of one prompt.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from foundation.files import Row
from labeling_ui.exchange.importers.judged_items import Item, Parsed, Refused
from labeling_ui.exchange.importers.layout import Format, Layout, Questions, Wishes, mapped
from labeling_ui.exchange.importers.messages import prompt_of, reply_of
from labeling_ui.exchange.importers.tools.fields import PLACES, ending
from labeling_ui.exchange.importers.tools.fields import responses as response_fields
from labeling_ui.exchange.importers.values import given, listed, name_of

_TEXTS = ("response", "text", "content", "completion", "output", "answer", "generation")
_FIELDS = ("prompt", "system", *PLACES, "responses", "response", "model")


def responses(row: Row, layout: Layout) -> Parsed:
    """The responses of a row, each with what wrote it."""
    found = mapped(row, layout.wishes.columns)
    prompt = prompt_of(given(found, "prompt"), found.get("system"))
    return [
        Item(
            prompt, (reply_of(said, prompt),), (), sources=({"imported": "responses", **({"model": by} if by else {})},)
        )
        for said, by in _said(row, found, layout)
    ]


def _said(row: Row, found: Row, layout: Layout) -> Iterator[tuple[Any, str | None]]:
    if found.get("responses") is not None:
        for each in listed(found, "responses"):
            if isinstance(each, dict):
                text = next((each[name] for name in _TEXTS if each.get(name) is not None), None)
                if text is None:
                    raise Refused(f"an element of the list has none of {', '.join(_TEXTS)}")
                yield text, name_of(each.get("model"))
            else:
                yield each, None
    elif found.get("response") is not None:
        yield found["response"], name_of(found.get("model"))
    else:
        for name, said in response_fields(row, layout.wishes.columns).items():
            end = ending(name)
            model = row.get(f"model_{end}") or row.get(f"model{end}")
            yield said, name_of(model) or name


class _Columns(Questions):
    """Which columns hold responses, and what wrote them: nothing is asked in such a file."""

    def see(self, row: Row, columns: Mapping[str, Sequence[str]]) -> None:
        """Take note of a row's columns."""
        try:
            found = response_fields(row, columns)
        except Refused:
            return
        for name in found:
            self.read.update(dict.fromkeys((name, f"model_{ending(name)}", f"model{ending(name)}")))

    def decide(self, wishes: Wishes, file: str) -> tuple[dict[str, str], dict[str, int]]:
        """No questions."""
        return {}, {}


FORMAT = Format(responses, _FIELDS, questions=_Columns)
