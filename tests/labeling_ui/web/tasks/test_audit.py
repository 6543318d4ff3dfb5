"""The security log: for admins only, a page at a time, as a table; what is done on the pages is in it."""

import csv
import io

import pytest

from labeling_ui.people.audit import PAGE, Origin, note
from labeling_ui.web.translations import words
from tests.labeling_ui.signed_in import HTML, LabelingApp


def test_only_admins_read_the_log(site: LabelingApp) -> None:
    for path in ("/admin/audit", "/admin/audit.csv"):
        assert site.visitor().get(path).status_code == 401
        assert site.client("Ann").get(path).status_code == 403
        assert site.client("Rex", "reviewer").get(path).status_code == 403
        assert site.client("Root", "admin").get(path).status_code == 200


def test_what_is_done_on_the_pages_is_in_the_log(site: LabelingApp) -> None:
    root = site.client("Root", "admin")
    task = site.store.tasks()[0].id
    site.visitor(address="203.0.113.200").post("/sign-in", data={"name": "Root", "password": "wrong"})
    root.post("/admin/tasks", data={"task": task, "change": "pause"})
    root.post(f"/admin/tasks/{task}/decision", data={"answer": "1-3"})
    root.get("/export/answers.jsonl")
    page = root.get("/admin/audit").text
    for said in (
        "sign-in failed",
        "203.0.113.200",
        "tasks changed",
        "task decided",
        f"pause: {task}",
        "exported",
        "answers, all campaigns",
    ):
        assert said in page
    table = list(csv.DictReader(io.StringIO(root.get("/admin/audit.csv").text.removeprefix("\ufeff"))))
    assert table[0]["event"] == "exported"
    assert {"signed_in", "sign_in_failed", "tasks_changed"} <= {row["event"] for row in table}
    assert "wrong" not in str(table)


def test_the_log_is_paged_on_the_server(site: LabelingApp) -> None:
    root = site.client("Root", "admin")
    for number in range(2 * PAGE):
        note(site.store.database, "disabled", Origin(None, "x"), detail=f"n{number}-")
    first = root.get("/admin/audit?event=disabled").text
    assert f"n{2 * PAGE - 1}-" in first
    assert f"n{PAGE - 1}-" not in first
    (following,) = [line for line in first.split('href="') if line.startswith("/admin/audit?before=")]
    second = root.get(following.partition('"')[0].replace("&amp;", "&")).text
    assert f"n{PAGE - 1}-" in second
    assert "n0-" in second
    assert 'rel="next"' not in second


@pytest.mark.parametrize("query", ["event=none", "before=x", "before=-1", "before=" + "9" * 40, "before=%00"])
def test_a_query_that_means_nothing_is_refused(site: LabelingApp, query: str) -> None:
    answer = site.client("Root", "admin").get(f"/admin/audit?{query}", headers=HTML)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text


def test_what_is_in_the_log_is_only_text(site: LabelingApp) -> None:
    note(site.store.database, "exported", Origin(None, "<b>x</b>"), detail="<script>1</script>=cmd()")
    root = site.client("Root", "admin")
    assert "<script>" not in root.get("/admin/audit").text
    assert ",=" not in root.get("/admin/audit.csv").text


def test_every_event_has_a_word_in_every_language() -> None:
    from labeling_ui.people.audit import EVENTS

    for language in ("en", "zh"):
        assert all(f"audit.{event}" in words(language, "tasks") for event in EVENTS)
