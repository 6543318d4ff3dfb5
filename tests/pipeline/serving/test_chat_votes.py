"""A vote on the chat page obeys the campaign that it goes to, and is about the answers that were voted on."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from labeling_ui.campaign import Campaign
from labeling_ui.store.campaign_rules.rules import CampaignRules
from tests.pipeline.serving.conftest import Site, open_site
from tests.pipeline.serving.test_chat import Scripted, begin, said, say, vote

OpenSite = Callable[[Campaign], Site]


@pytest.fixture
def open_with(tiny_model: Path, adapters: Mapping[str, Path], tmp_path: Path) -> Iterator[OpenSite]:
    """The chat of a store whose live campaign is this one."""
    script = Scripted(base="of the base", round_000="of round 0")
    with open_site(tiny_model, adapters, tmp_path, write=script) as site:

        def go(campaign: Campaign) -> Site:
            site.store.add_campaign(campaign)
            return site

        yield go


@pytest.mark.parametrize(
    ("limit", "words"),
    [({"quota": 1}, "quota"), ({"deadline": "2001-01-31T18:00:00+01:00"}, "ended"), ({}, "not assigned")],
)
def test_a_vote_is_refused_where_the_campaign_asks_nothing_of_the_person(
    open_with: OpenSite, limit: dict[str, Any], words: str
) -> None:
    site = open_with(Campaign(name="main", live=True, **limit))
    if not limit:
        site.store.annotator("Somebody else")
        CampaignRules(site.store.database).assign("main", ["Somebody else"])
    with site.visitor("Ann") as client:
        conversation = begin(client)["conversation"]
        say(client, conversation)
        answer = vote(client, conversation)
        if "quota" in limit:
            assert answer.json() == {"saved": "taken"}
            say(client, conversation, "and of the dog")
            answer = vote(client, conversation, turn=2)
    assert answer.status_code == 403
    assert words in answer.json()["detail"]
    assert len(said(site, "Ann")) == limit.get("quota", 0)


def test_a_required_reason_is_asked_for_and_kept(open_with: OpenSite) -> None:
    site = open_with(Campaign(name="main", live=True, rationale="required"))
    with site.visitor("Ann") as client:
        assert client.get("/api/chat").json()["rationale"] == "required"
        conversation = begin(client)["conversation"]
        say(client, conversation)
        assert vote(client, conversation, rationale=" ").status_code == 422
        assert vote(client, conversation, rationale=" It is kinder. ").json() == {"saved": "taken"}
    (judgement,) = said(site, "Ann")
    assert judgement.answer.rationale == "It is kinder."


def test_a_vote_on_an_earlier_turn_is_no_vote_on_the_last_one(open_with: OpenSite) -> None:
    site = open_with(Campaign(name="main", live=True))
    with site.visitor("Ann") as client:
        conversation = begin(client)["conversation"]
        first = say(client, conversation)[-1]["answers"]["turn"]
        second = say(client, conversation, "and of the dog")[-1]["answers"]["turn"]
        assert vote(client, conversation, turn=first).status_code == 409
        assert said(site, "Ann") == []
        assert vote(client, conversation, turn=second).json() == {"saved": "taken"}
