"""The door to what a campaign decides by itself: what annotators are told of it, and what a lead can change."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.campaign import Campaign
from labeling_ui.store import tables
from labeling_ui.store.campaign_rules import limits, qualification
from labeling_ui.store.campaign_rules.limits import Reason
from labeling_ui.store.campaign_rules.qualification import Qualifying
from labeling_ui.store.campaigns import Version, add_campaign, asked_alike, campaigns_of, is_current, settings_now
from labeling_ui.store.database import Database


@dataclass(frozen=True, slots=True)
class Changed:
    """A campaign before and after a change of its settings."""

    before: Version
    now: Version


@dataclass(frozen=True, slots=True)
class NamedStanding:
    """How somebody stands in the qualification of a campaign."""

    name: str
    campaign: Campaign
    standing: Qualifying


class CampaignRules:
    """Qualification, quotas, deadlines and assigned people, over the database of a label store."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        """`clock` tells the seconds since 1970 (only tests replace it)."""
        self._database = database
        self._clock = clock

    def unqualified(self, annotator_id: str) -> list[Qualifying]:
        """The campaigns for which the person has yet to qualify."""
        with self._database.read() as connection:
            return list(qualification.must_qualify(connection, annotator_id, settings_now(connection)).values())

    def closed(self, annotator_id: str) -> list[tuple[Campaign, Reason]]:
        """The campaigns that ask nothing of the person, and why; those of a verdict are told apart from none."""
        with self._database.read() as connection:
            campaigns = settings_now(connection)
            people = limits.people_of(connection)
            found = limits.limits_of(connection, annotator_id, campaigns, people, self._clock()).closed
        return [(campaigns[name], why) for name, why in found.items() if not campaigns[name].is_verdict]

    def refusal(self, annotator_id: str, campaign: Campaign) -> Reason | Literal["qualification"] | None:
        """Why the person is asked nothing in the campaign, or nothing but its qualification round; None if they are."""
        with self._database.read() as connection:
            campaigns, people = settings_now(connection), limits.people_of(connection)
            of_it = {campaign.name: campaign}
            closed = limits.limits_of(connection, annotator_id, of_it, people, self._clock()).closed
            unqualified = qualification.must_qualify(connection, annotator_id, campaigns)
        to_qualify = qualification.kept_from(campaign, unqualified, campaigns)
        return closed.get(campaign.name) or ("qualification" if to_qualify else None)

    def change(self, name: str, change: Callable[[Campaign], Campaign], *, asked: bool = False) -> Changed | None:
        """Give a campaign the settings that `change` makes of those that it has; None if there is none of that name.

        They are read and written in one transaction, so that nobody's edit in between is lost. A verdict whose cards
        would be told from this campaign's otherwise follows (`asked_alike`). `UserError` if a quota or a deadline makes
        no sense, or, where tasks are `asked` of people now, if there are too few known answers for a qualification
        round.
        """
        with self._database.write() as connection:
            before = campaigns_of(connection).get(name)
            if before is None:
                return None
            now = change(before.campaign)
            limits.check_limits(connection, before.campaign, now, self._clock())
            if asked:
                qualification.check_known_answers(now, _known_answers(connection, name))
            add_campaign(connection, now, self._time())
            campaigns = settings_now(connection).values()
            if now != before.campaign and name == asked_alike(campaigns):
                for each in (each for each in campaigns if each.is_verdict):
                    add_campaign(connection, now.for_verdict(each.name, each.overlap), self._time())
            return Changed(before, campaigns_of(connection)[name])

    def begin(self, new: Campaign) -> None:
        """Add a campaign, unless there is one of that name; `UserError` if its quota or deadline makes no sense."""
        with self._database.write() as connection:
            if new.name not in settings_now(connection):
                limits.check_limits(connection, None, new, self._clock())
                add_campaign(connection, new, self._time())

    def people(self) -> dict[str, list[str]]:
        """The names of those who may work on each campaign that is not for everybody."""
        with self._database.read() as connection:
            found = limits.people_of(connection)
            names = {row.id: row.name for row in connection.execute(sa.select(tables.annotators))}
        return {campaign: sorted(names[who] for who in ids) for campaign, ids in found.items()}

    def assign(self, campaign: str, names: Sequence[str]) -> None:
        """Let these people work on the campaign; if it was for everybody, it is for them alone."""
        with self._database.write() as connection:
            self._campaign(connection, campaign)
            limits.assign(connection, campaign, [self._person(connection, name) for name in names])

    def take_off(self, campaign: str, names: Sequence[str]) -> None:
        """Take people off the campaign; `UserError` if nobody would be left."""
        with self._database.write() as connection:
            self._campaign(connection, campaign)
            limits.take_off(connection, campaign, [self._person(connection, name) for name in names])

    def open_to_everybody(self, campaign: str) -> None:
        """Let everybody work on the campaign."""
        with self._database.write() as connection:
            self._campaign(connection, campaign)
            limits.open_to_everybody(connection, campaign)

    def standings(self, campaign: str | None = None) -> Sequence[NamedStanding]:
        """How everybody stands who has begun a qualification (of one campaign), by campaign and name."""
        with self._database.read() as connection:
            campaigns = settings_now(connection)
            asked = [each for each in campaigns.values() if each.qualification and campaign in (None, each.name)]
            people = sa.select(tables.annotators.c.id, tables.annotators.c.name)
            names = {row.id: row.name for row in connection.execute(people)}
            found = qualification.standings(connection, asked)
        return [
            NamedStanding(names[each.annotator_id], campaigns[each.campaign], each)
            for each in sorted(found, key=lambda each: (each.campaign, names[each.annotator_id]))
        ]

    def reopen(self, campaign: str, name: str) -> int:
        """Give a person all attempts of a qualification again; returns how many ended ones count no more."""
        with self._database.write() as connection:
            return qualification.reopen(connection, *self._both(connection, campaign, name))

    def let_pass(self, campaign: str, name: str) -> None:
        """Take a person as qualified, whatever they answered."""
        with self._database.write() as connection:
            qualification.let_pass(connection, *self._both(connection, campaign, name), self._time())

    def _both(self, connection: sa.Connection, campaign: str, name: str) -> tuple[Campaign, str]:
        found = self._campaign(connection, campaign)
        if not found.qualification:
            raise UserError(f'the campaign "{campaign}" has no qualification round: set label.qualification first.')
        return found, self._person(connection, name)

    def _campaign(self, connection: sa.Connection, name: str) -> Campaign:
        campaigns = settings_now(connection)
        if name not in campaigns:
            there = ", ".join(sorted(campaigns)) or "none"
            raise UserError(f'there is no campaign "{name}" in this label store; there is: {there}.')
        return campaigns[name]

    def _person(self, connection: sa.Connection, name: str) -> str:
        people = tables.annotators.c
        known = (people.name == name.strip()) | (people.email == name.strip())
        found = connection.execute(sa.select(people.id).where(known)).scalar()
        if found is None:
            raise UserError(f'there is nobody of the name "{name}" in this label store. See `rlhf users list`.')
        return str(found)

    def _time(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")


def _known_answers(connection: sa.Connection, campaign: str) -> int:
    """How many tasks with a known answer the campaign can ask now."""
    there = sa.select(sa.func.count()).select_from(tables.tasks).where(sa.text(tables.GOLD))
    return int(connection.execute(there.where(tables.tasks.c.campaign == campaign, is_current())).scalar_one())
