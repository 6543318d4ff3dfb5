"""A rewrite that nobody wrote: pages fill the field in, and may send the text of some response as it is."""

from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from labeling_ui.assignment.answer_validation import is_unchanged
from labeling_ui.data_model import Judgement
from labeling_ui.store import tables
from labeling_ui.store.database import rows_in


def without_unchanged_rewrites(connection: sa.Connection, judgements: Sequence[Judgement]) -> list[Judgement]:
    """The judgements, without those rewrites that are the text of a response that was shown."""
    shown = {candidate for each in judgements if each.answer.rewrite for candidate in each.shown}
    texts = {row.id: row.response for row in rows_in(connection, tables.candidates.c.id, shown)} if shown else {}
    return [
        replace(each, answer=replace(each.answer, rewrite="")) if _is_unchanged(each, texts) else each
        for each in judgements
    ]


def _is_unchanged(judgement: Judgement, texts: dict[str, str]) -> bool:
    rewrite = judgement.answer.rewrite
    return bool(rewrite) and any(is_unchanged(rewrite, texts[each]) for each in judgement.shown if each in texts)
