"""The kinds of export by name; a new one is added here, with a line in `KINDS`.

Listing the kinds imports nothing else: the code of a kind is loaded when it is used. Every function takes the labels
with their votes (`weighted_votes.py`) and returns rows that all have the same fields; that of `ANSWERS` takes the
store, and tells what was said as it was said. Rows carry annotators' ids, and no names.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from foundation.errors import UserError

if TYPE_CHECKING:
    from foundation.files import Row
    from labeling_ui.store.store import Store


@dataclass(frozen=True, slots=True)
class ExportKind:
    """What the rows are, and the function that makes them, as "module:function"."""

    description: str
    code: str

    def load(self) -> "Callable[..., Iterable[Row]]":
        """The function."""
        module, _, function = self.code.partition(":")
        found: Callable[..., Iterable[Row]] = getattr(import_module(f"{__package__}.{module}"), function)
        return found


ANSWERS = "answers"
KINDS: Mapping[str, ExportKind] = {
    "preferences": ExportKind(
        "Decided pairs, for reward models and DPO: prompt, chosen, rejected, weight, p_chosen, margin",
        "preferences:preference_rows",
    ),
    "rankings": ExportKind("The same rows, from ranked tasks alone", "preferences:rows_of_rankings"),
    "ties": ExportKind("The same rows, of responses that are found equal", "ties:tie_rows"),
    "soft": ExportKind("The same rows, of pairs that people split on", "ties:soft_rows"),
    "orders": ExportKind("Whole rankings: prompt, responses, ranks, weight", "rankings_and_ratings:ranking_rows"),
    "unpaired": ExportKind(
        "Single responses with a label, for KTO: prompt, completion, label, weight", "unpaired:unpaired_rows"
    ),
    "prompts": ExportKind("Prompts alone, for online training", "prompts:prompt_rows"),
    "ratings": ExportKind(
        "Ratings by aspect: prompt, response, aspect, score, scale", "rankings_and_ratings:rating_rows"
    ),
    ANSWERS: ExportKind(
        "Everything that was said, to be read again: answer, edits, undos, times, settings", "answers:AnswerRows"
    ),
}


def export(store: "Store", kind: str, campaign: str | None = None) -> "list[Row]":
    """The rows of one kind, of one campaign or of all, as a list."""
    return list(rows(store, kind, campaign))


def rows(store: "Store", kind: str, campaign: str | None = None) -> "Iterable[Row]":
    """The same; answers are not held in memory, but read whenever they are gone through."""
    from labeling_ui.exchange.exports.remarks import with_remarks
    from labeling_ui.exchange.weighted_votes import read_votes
    from labeling_ui.quality.label_reader import check_campaign

    if kind not in KINDS:
        raise UserError(f'there is no export "{kind}": expected one of {", ".join(KINDS)}.')
    campaigns = check_campaign(store, campaign)
    if kind == ANSWERS:
        return KINDS[kind].load()(store, campaign)
    if campaign is not None and campaigns[campaign].is_verdict:
        raise UserError(
            f'the campaign "{campaign}" is a verdict on a policy, on held-out prompts: nothing is to be trained on it. '
            f"What was said in it is in the export of {ANSWERS}."
        )
    labels = read_votes(store, campaign)
    return list(with_remarks(labels, KINDS[kind].load()))
