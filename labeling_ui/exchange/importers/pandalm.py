"""PandaLM's test set: two responses, and the verdicts of three annotators."""

from collections.abc import Iterable

from foundation.errors import UserError
from foundation.files import Row
from labeling_ui.exchange.importers.judged_items import Format, Item, Refused, Vote, asked, numbered_verdict, value


def pandalm(row: Row, where: str) -> Iterable[Item]:
    """PandaLM's test set: two responses and the verdicts of three annotators."""
    instruction, given = (value(row, name, str, where).strip() for name in ("instruction", "input"))
    votes = []
    names = ("annotator1", "annotator2", "annotator3")
    missing = [name for name in names if name not in row]
    if missing:
        raise UserError(f'{where}: the field "{missing[0]}" is missing.')
    for name in names:
        if type(row[name]) is not int or row[name] not in (0, 1, 2):
            raise UserError(f'{where}: the field "{name}" must be 0, 1 or 2, found {row[name]!r}.')
        votes.append(Vote(name, numbered_verdict(row[name])))
    responses = [row[name] for name in ("response1", "response2") if isinstance(row.get(name), str)]
    if len(responses) < 2:
        raise Refused("a response is not text")
    prompt = asked(f"{instruction}\n\n{given}".strip())
    return [Item(prompt, tuple(response.strip() for response in responses), tuple(votes))]


FORMAT = Format(pandalm, ("idx",))
