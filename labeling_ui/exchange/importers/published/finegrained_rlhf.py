"""FineGrainedRLHF: four predictions a question, and a verdict on each two of them."""

from itertools import combinations

from foundation.files import Row
from labeling_ui.exchange.importers.judged_items import Item, Parsed, Refused, Vote, numbered_verdict
from labeling_ui.exchange.importers.layout import Format, Layout
from labeling_ui.exchange.importers.messages import asked
from labeling_ui.exchange.importers.values import listed, text

_PREDICTIONS = tuple(f"prediction {number}" for number in (1, 2, 3, 4))


def finegrained(row: Row, layout: Layout) -> Parsed:
    """FineGrainedRLHF: four predictions a question and six verdicts.

    The question alone is the prompt: with its passages it would not fit the context of small models.
    """
    predictions = [text(row, name).strip() for name in _PREDICTIONS]
    verdicts = listed(row, "preference")
    if len(verdicts) != 6 or any(type(verdict) is not int or verdict not in (0, 1, 2) for verdict in verdicts):
        raise Refused(f'the field "preference" must hold six verdicts of 0, 1 or 2, found {verdicts}')
    prompt = asked(text(row, "question").strip())
    gold = row.get("gold")
    references = (gold.strip(),) if isinstance(gold, str) and gold.strip() else ()
    return [
        Item(prompt, pair, (Vote("finegrained (imported)", numbered_verdict(verdict)),), references)
        for pair, verdict in zip(combinations(predictions, 2), verdicts, strict=True)
    ]


FORMAT = Format(finegrained, ("question", *_PREDICTIONS, "preference", "gold"))
