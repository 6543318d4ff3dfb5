"""Whoever is asked nothing more reads why, and leads see what is set."""

from datetime import UTC, datetime

from fastapi.testclient import TestClient

from labeling_ui.campaign import Campaign
from labeling_ui.store.campaign_rules.rules import CampaignRules
from labeling_ui.store.store import Store
from labeling_ui.web.admin.figures import quality_html, read_overview
from tests.labeling_ui.pages import client_of, fill_kind
from tests.labeling_ui.web.judging import TIE, desk, judge


def test_a_quota_that_is_done_is_said(store: Store) -> None:
    fill_kind(store, "pairwise", quota=1)
    client = client_of(store)
    assert desk(client)["notices"] == []
    (card,) = desk(client)["cards"]
    reply = judge(client, card, TIE)
    assert reply["cards"] == []
    (notice,) = reply["notices"]
    assert (notice["word"], notice["quota"], notice["campaign"]) == ("empty.quota", "1", "main")


def test_a_deadline_that_is_over_is_said_and_what_was_dealt_is_taken(store: Store) -> None:
    fill_kind(store, "pairwise", quota=1)
    client = client_of(store)
    (card,) = desk(client)["cards"]
    store.add_campaign(Campaign(overlap=3, deadline=datetime(2001, 1, 1, tzinfo=UTC)))
    (notice,) = desk(client, "Ben")["notices"]
    assert (notice["word"], notice["ended"]) == ("empty.deadline", "2001-01-01 00:00+00:00")
    assert judge(client, card, TIE)["saved"] == "taken"


def test_leads_see_quota_deadline_and_people(store: Store) -> None:
    fill_kind(store, "pairwise", quota=5, deadline=datetime(2030, 1, 31, 18, tzinfo=UTC))
    store.annotator("Ann <b>")
    CampaignRules(store.database).assign("main", ["Ann <b>"])
    page = quality_html(read_overview(store))
    assert "until 2030-01-31 18:00+00:00; 5 answers a person; for Ann &lt;b&gt;" in page


def test_whoever_is_assigned_to_nothing_reads_so_and_nothing_of_others_campaigns(
    store: Store, client: TestClient
) -> None:
    fill_kind(store, "pairwise", name="secret-plan")
    rules = CampaignRules(store.database)
    for name in ("Ada", "Ann"):
        store.annotator(name)
    rules.assign("main", ["Ada"])
    rules.assign("secret-plan", ["Ada"])
    reply = desk(client)
    assert reply["notices"] == [{"word": "empty.people"}]
    assert "secret-plan" not in str(reply)
    rules.assign("main", ["Ann"])
    assert desk(client)["notices"] == []
