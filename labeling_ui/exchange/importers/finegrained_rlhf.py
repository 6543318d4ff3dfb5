"""FineGrainedRLHF: four predictions a question, and a verdict on each two of them."""

from collections.abc import Iterable
from itertools import combinations

from foundation.errors import UserError
from foundation.files import Row
from labeling_ui.exchange.importers.judged_items import Format, Item, Vote, asked, numbered_verdict, value


def finegrained(row: Row, where: str) -> Iterable[Item]:
    """FineGrainedRLHF: four predictions a question and six verdicts.

    The question alone is the prompt: with its passages it would not fit the context of small models.
    """
    predictions = [value(row, f"prediction {number}", str, where).strip() for number in (1, 2, 3, 4)]
    verdicts = value(row, "preference", list, where)
    if len(verdicts) != 6 or any(type(verdict) is not int or verdict not in (0, 1, 2) for verdict in verdicts):
        raise UserError(f'{where}: the field "preference" must hold six verdicts of 0, 1 or 2, found {verdicts}.')
    prompt = asked(value(row, "question", str, where).strip())
    gold = row.get("gold")
    references = (gold.strip(),) if isinstance(gold, str) and gold.strip() else ()
    return [
        Item(prompt, pair, (Vote("finegrained (imported)", numbered_verdict(verdict)),), references)
        for pair, verdict in zip(combinations(predictions, 2), verdicts, strict=True)
    ]


FORMAT = Format(finegrained)
