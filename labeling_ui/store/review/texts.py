"""The texts of a campaign, edited by a lead: its instructions, and what its aspects mean.

An edit is logged like every change of settings, applies at once, and begins no version: nothing here changes what an
answer means (`Campaign.meaning`). It says which texts it began from. If others were saved since, it is refused. Each
function works in the transaction that it is given.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa
from pydantic import ValidationError

from foundation.errors import UserError
from labeling_ui.assignment.answer_validation import check_text
from labeling_ui.campaign import Campaign
from labeling_ui.store import tables
from labeling_ui.store.campaigns import Version, add_campaign, asked_alike, campaigns_of

MOST_EDITIONS = 20


@dataclass(frozen=True, slots=True)
class Texts:
    """What a lead may edit while people work; `definitions` by aspect, without empty ones."""

    instructions: str = ""
    definitions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Edition:
    """Texts with the number of the settings in the log that brought them, and when that was."""

    number: int
    texts: Texts
    created_at: str


class EditedMeanwhile(UserError):
    """Other texts were saved after those that an edit began from."""


def editions_of(connection: sa.Connection, name: str) -> list[Edition]:
    """The newest editions of a campaign's texts, the one in force first; `UserError` if there are none to edit."""
    _editable(connection, name)
    log = tables.campaign_settings
    rows = connection.execute(sa.select(log).where(log.c.campaign == name).order_by(log.c.number))
    found: list[Edition] = []
    for row in rows:
        texts = texts_of(Campaign.model_validate(row.settings))
        if not found or found[-1].texts != texts:
            found.append(Edition(row.number, texts, row.created_at))
    return found[: -MOST_EDITIONS - 1 : -1]


def save_texts(connection: sa.Connection, name: str, texts: Texts, began_from: int, time: str) -> None:
    """Give the campaign these texts, and a verdict that is asked with it: they must not be told apart.

    `began_from` is the number of the edition that was edited. `EditedMeanwhile` if it is not in force any more and the
    texts in force are others than these; `UserError` for texts that no campaign may have.
    """
    known = _editable(connection, name)
    new = edited(known.campaign, texts)
    if new == known.campaign:
        return
    in_force = editions_of(connection, name)[0]
    if in_force.number != began_from:
        raise EditedMeanwhile(f'the texts of the campaign "{name}" were changed since you opened them.')
    campaigns = [each.campaign for each in campaigns_of(connection).values()]
    add_campaign(connection, new, time)
    for each in campaigns:
        if each.is_verdict and name == asked_alike(campaigns):
            add_campaign(connection, edited(each, texts), time)


def texts_of(campaign: Campaign) -> Texts:
    """The texts that a campaign has."""
    return Texts(campaign.instructions, dict(campaign.definitions))


def edited(campaign: Campaign, texts: Texts) -> Campaign:
    """The campaign with these texts; `UserError` if one is too long, or cannot be stored."""
    check_text(texts.instructions, "the text of the instructions")
    for aspect, words in texts.definitions.items():
        check_text(words, f'the definition of "{aspect}"')
    given = {"instructions": texts.instructions, "definitions": dict(texts.definitions)}
    try:
        return Campaign.model_validate({**dict(campaign), **given})
    except ValidationError as error:
        found = error.errors()[0]
        where = ".".join(map(str, found["loc"])) or "the texts"
        raise UserError(f"{where}: {found['msg'].removeprefix('Value error, ')}.") from error


def _editable(connection: sa.Connection, name: str) -> Version:
    known = campaigns_of(connection).get(name)
    if known is None:
        raise UserError(f'there is no campaign "{name[:40]}" in this label store.')
    if known.campaign.is_verdict:
        raise UserError(
            f'the campaign "{name}" is a verdict on a policy: it has the texts of the first pairwise campaign. '
            "Edit those."
        )
    return known
