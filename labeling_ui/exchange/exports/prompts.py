"""Prompts alone: {"id", "prompt", "references"?}."""

from foundation.files import Row
from labeling_ui.exchange.exports.messages import prompt_messages
from labeling_ui.exchange.weighted_votes import VotedLabels


def prompt_rows(labels: VotedLabels) -> list[Row]:
    """Every prompt that is not there for gold tasks alone."""
    found = [labels.prompts[prompt_id] for prompt_id in labels.asked]
    rows: list[Row] = [{"id": each.id, "prompt": prompt_messages(labels, each.id)} for each in found]
    if any(each.references for each in found):
        rows = [row | {"references": list(each.references)} for row, each in zip(rows, found, strict=True)]
    return rows
