"""PandaLM's test set: two responses, and the verdicts of three annotators."""

from foundation.files import Row
from labeling_ui.exchange.importers.judged_items import Item, Parsed, Refused, Vote, brief, numbered_verdict
from labeling_ui.exchange.importers.layout import Format, Layout
from labeling_ui.exchange.importers.messages import asked
from labeling_ui.exchange.importers.values import given, text

_ANNOTATORS = ("annotator1", "annotator2", "annotator3")


def pandalm(row: Row, layout: Layout) -> Parsed:
    """PandaLM's test set: two responses and the verdicts of three annotators; an odd verdict refuses itself alone."""
    instruction, input = text(row, "instruction").strip(), row.get("input")
    responses = [row[name] for name in ("response1", "response2") if isinstance(row.get(name), str)]
    if len(responses) < 2:
        raise Refused("a response is not text")
    votes, odd = [], []
    for name in _ANNOTATORS:
        try:
            votes.append(Vote(name, numbered_verdict(_verdict(row, name))))
        except Refused as refused:
            odd.append(refused)
    prompt = asked(f"{instruction}\n\n{input if isinstance(input, str) else ''}".strip())
    items = [Item(prompt, tuple(response.strip() for response in responses), tuple(votes))] if votes else []
    return [*items, *odd]


def _verdict(row: Row, name: str) -> int:
    found = given(row, name)
    if isinstance(found, bool) or found not in (0, 1, 2):
        raise Refused(f'the field "{name}" must be 0, 1 or 2, found {brief(found)}')
    return int(found)


FORMAT = Format(
    pandalm, ("instruction", "input", "response1", "response2"), identity=("idx",), people=_ANNOTATORS
)  # fmt: skip
