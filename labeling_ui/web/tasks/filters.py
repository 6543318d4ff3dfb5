"""The form of the task browser as a query of the address, and back."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, get_args
from urllib.parse import urlencode

from foundation.errors import UserError
from labeling_ui.assignment.answer_validation import check_text
from labeling_ui.data_model import VERDICTS, TaskState
from labeling_ui.store.review.search import Cursor, Wanted

STATES: tuple[TaskState, ...] = get_args(TaskState)
FIELDS = ("text", "campaign", "annotator", "verdict", "state", "since", "until", "divided", "flagged")
LONGEST_TEXT = 200


def read_filters(query: Mapping[str, str]) -> Wanted:
    """The tasks that a query asks for; `UserError` says which part of it means nothing."""
    given = {name: query.get(name, "").strip() for name in FIELDS}
    check_text(given["text"], "the text to look for")
    if len(given["text"]) > LONGEST_TEXT:
        raise UserError(f"the text to look for has {len(given['text'])} characters: give up to {LONGEST_TEXT}.")
    for name, known in (("verdict", VERDICTS), ("state", STATES)):
        if given[name] and given[name] not in known:
            raise UserError(f'there is no {name} "{given[name][:40]}": choose one of {", ".join(known)}.')
    for name in ("campaign", "annotator"):
        check_text(given[name], f"the {name}")
    found: dict[str, Any] = {name: given[name] or None for name in ("campaign", "annotator", "verdict", "state")}
    since, until = read_period(query)
    return Wanted(
        given["text"], **found, since=since, until=until, divided=bool(given["divided"]), flagged=bool(given["flagged"])
    )


def read_period(query: Mapping[str, str]) -> tuple[str | None, str | None]:
    """From the first day to before the day after the last one, in ISO 8601; `UserError` if a day is none."""
    days = {}
    for name in ("since", "until"):
        given = query.get(name, "").strip()
        try:
            days[name] = date.fromisoformat(given) if given else None
        except ValueError as error:
            raise UserError(f'"{given[:40]}" is no day: write it as 2026-01-31.') from error
    since, until = days["since"], days["until"]
    if until == date.max:
        until = None
    after = until + timedelta(days=1) if until else None
    return since.isoformat() if since else None, after.isoformat() if after else None


def address(query: Mapping[str, str], after: Cursor | None = None, **changed: str) -> str:
    """The address of the task browser with these filters, from the task after a cursor on."""
    kept = {name: value for name in FIELDS if (value := changed.get(name, query.get(name, "")).strip())}
    if after is not None:
        kept["after"] = str(after)
    return f"/admin/tasks?{urlencode(kept)}" if kept else "/admin/tasks"
