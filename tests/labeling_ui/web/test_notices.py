"""Leads see on the admin page what was told, what was not sent and why, and what was given up."""

from labeling_ui.notices.keeping import PAUSES, begin, end, settle, take_due
from labeling_ui.people.accounts import Accounts
from labeling_ui.store.store import Store
from labeling_ui.web.admin.page import ALL, AdminActions
from tests.labeling_ui.pages import fill_kind


def test_notices_are_on_the_admin_page_with_how_they_were_delivered(store: Store) -> None:
    fill_kind(store, "pairwise")
    people = Accounts(store.database)
    admin = people.add("Ada", "admin", "tiger lamp seventeen").id
    actions = AdminActions(store, people)
    assert "Notices" not in actions.figures(admin, ALL)[0]
    now = 1_000_000.0
    with store.database.write() as connection:
        begin(connection, "main", "stalled", "No answer has come.", {"a": "address 1 (json)", "b": "two"}, now)
        end(connection, "main", "stalled", now)
        begin(connection, "main", "done", "3 tasks.", {"a": "address 1 (json)"}, now)
        for _ in PAUSES:
            assert take_due(connection, ["a"], now)
            settle(connection, 1, "a", None, "it answered 500")
            now += max(PAUSES)
        assert take_due(connection, ["b"], now)
        settle(connection, 1, "b", now)
        assert take_due(connection, ["a"], now)
        settle(connection, 2, "a", None, "it could not be reached")
    for campaign in (ALL, "main"):
        page = " ".join(actions.figures(admin, campaign)[0].split())
        assert 'The campaign "main" stalls'.replace('"', "&#34;") in page
        assert "no longer so" in page
        assert "address 1 (json): <b>given up</b> after 5 attempts: it answered 500<br>two: sent" in page
        assert "<b>not sent</b>: it could not be reached; tried again later" in page
        assert "1970-01-12 13:46" in page
