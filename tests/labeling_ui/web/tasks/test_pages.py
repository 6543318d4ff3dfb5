"""The pages of a lead: who may see and change what, what they show, and that nothing that was written can run."""

import re
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Judgement
from labeling_ui.store.review.review import TaskReview
from tests.labeling_ui.pages import add_tasks
from tests.labeling_ui.signed_in import HTML, LabelingApp, open_app

PAYLOAD = "<script>alert(1)</script> [x](javascript:alert(1)) ![y](https://evil.test/i.png) **bold**"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelingApp]:
    site = open_app(tmp_path_factory.mktemp("labels"), pairs=2)
    add_tasks(site.store, 30, Campaign(name="marked", overlap=3, gold_share=0, repeat_share=0), PAYLOAD, "<b>Why</b>")
    yield site
    site.store.close()


@pytest.fixture(scope="module")
def root(site: LabelingApp) -> TestClient:
    return site.client("Root", "admin")


@pytest.fixture(scope="module")
def rex(site: LabelingApp) -> TestClient:
    return site.client("Rex", "reviewer")


def of_marked(site: LabelingApp, number: int = 0) -> str:
    return [task.id for task in site.store.tasks() if task.campaign == "marked"][number]


def say(site: LabelingApp, name: str, task_id: str, place: int = 0, rationale: str = "") -> Judgement:
    store = site.store
    task = next(each for each in store.tasks() if each.id == task_id)
    answer = Answer("preferred", task.candidates[place], 2, rationale=rationale)
    said = Judgement(task_id, store.annotator(name).id, task.candidates[::-1], answer, 12.34, key=f"{name} {task_id}")
    store.record(said)
    return said


@pytest.mark.parametrize("path", ["/admin/tasks", "/admin/tasks/x", "/admin/work", "/admin/work.csv"])
def test_annotators_and_strangers_see_nothing(site: LabelingApp, path: str) -> None:
    assert site.client("Ann").get(path).status_code == 403
    assert site.visitor().get(path).status_code == 401
    assert site.visitor().get(path, headers=HTML).status_code == 303


def test_reviewers_read_and_decide_and_only_admins_change_tasks_and_see_what_is_paid(
    site: LabelingApp, rex: TestClient
) -> None:
    task = of_marked(site, 5)
    assert rex.get("/admin/tasks").status_code == rex.get(f"/admin/tasks/{task}").status_code == 200
    assert 'name="change"' not in rex.get("/admin/tasks").text + rex.get(f"/admin/tasks/{task}").text
    assert rex.post("/admin/tasks", data={"task": task, "change": "remove"}).status_code == 403
    assert rex.get("/admin/work").status_code == rex.get("/admin/work.csv").status_code == 403
    ann = site.client("Ann")
    for path in ("/admin/tasks", f"/admin/tasks/{task}/decision", f"/admin/tasks/{task}/reopen"):
        assert ann.post(path, data={"answer": "tie"}).status_code == 403
    assert TaskReview(site.store.database).task(task).events == []


@pytest.mark.parametrize("path", ["/admin/tasks", "/admin/tasks/{}/decision", "/admin/tasks/{}/reopen"])
def test_another_site_changes_nothing(site: LabelingApp, root: TestClient, path: str) -> None:
    task = of_marked(site, 6)
    data = {"task": task, "change": "remove", "answer": "tie"}
    answered = root.post(path.format(task), data=data, headers={"origin": "http://evil.test"})
    assert answered.status_code == 403
    assert TaskReview(site.store.database).task(task).task.state == "open"


def test_a_task_shows_what_everybody_said_and_nothing_that_runs(site: LabelingApp, root: TestClient) -> None:
    task = of_marked(site)
    say(site, "Ann", task, 0, rationale=PAYLOAD)
    bob = say(site, "Bob", task, 1)
    site.store.undo(bob.annotator_id, "undo")
    text = root.get(f"/admin/tasks/{task}").text
    assert "12.3 s" in text
    assert "saw B A" in text
    assert "A is clearly better" in text
    assert "taken back later" in text
    assert "took the answer back" in text
    assert "<strong>bold</strong>" in text
    assert "<script" not in text
    assert not re.search(r"""<(img|a|iframe|form)[^>]+(evil|javascript)""", text)
    page = root.get(f"/admin/tasks/{task}")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert page.headers["cache-control"] == "no-store"
    assert "<b>Why" not in root.get("/admin/tasks?campaign=marked").text


def test_a_decision_is_made_said_and_withdrawn(site: LabelingApp, rex: TestClient) -> None:
    task = of_marked(site, 1)
    say(site, "Rex", task)
    assert "You judged this task yourself" in rex.get(f"/admin/tasks/{task}").text
    refused = rex.post(f"/admin/tasks/{task}/decision", data={"answer": "0-9", "rationale": "kept text"})
    assert refused.status_code == 422
    assert "kept text" in refused.text
    done = rex.post(f"/admin/tasks/{task}/decision", data={"answer": "1-3", "rationale": "<i>why</i>"})
    assert done.headers["location"] == f"/admin/tasks/{task}?done=decided"
    text = rex.get(done.headers["location"]).text
    assert "Rex decided: B is much better (who also judged this task as an annotator)" in text
    assert "&lt;i&gt;why&lt;/i&gt;" in text
    assert [row for row in rex.get("/export/preferences.jsonl").text.splitlines() if '"adjudicated": true' in row]
    assert rex.post(f"/admin/tasks/{task}/reopen").status_code == 303
    assert "withdrew the decision" in rex.get(f"/admin/tasks/{task}").text
    assert rex.post(f"/admin/tasks/{task}/reopen").status_code == 422


def test_selected_tasks_are_removed_and_come_back(site: LabelingApp, root: TestClient) -> None:
    some = [of_marked(site, 2), of_marked(site, 3)]
    back = "/admin/tasks?campaign=marked"
    data = {"task": some, "change": "remove", "reason": "<u>private</u>", "back": back}
    done = root.post("/admin/tasks", data=data)
    assert done.headers["location"] == f"{back}&done=remove&n=2"
    assert "2 tasks were removed" in root.get(done.headers["location"]).text
    assert all(task in root.get("/admin/tasks?state=removed").text for task in some)
    assert "&lt;u&gt;private&lt;/u&gt;" in root.get(f"/admin/tasks/{some[0]}").text
    for place in ("https://evil.test", "//evil.test", "/admin/tasks\r\nx: y"):
        away = root.post("/admin/tasks", data={"task": some, "change": "restore", "back": place})
        assert away.headers["location"].startswith("/admin/tasks?done=")
    assert root.post("/admin/tasks", data={"task": some, "change": "burn"}).status_code == 422


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("verdict=guess", "there is no verdict"),
        ("state=%3Cb%3E", "there is no state"),
        ("since=yesterday", "is no day"),
        ("until=9999-12-31", ""),
        ("after=nonsense&text=%25", ""),
        ("text=" + "x" * 201, "give up to 200"),
        ("text=%00", "cannot be stored"),
        ("annotator=nobody&campaign=none", ""),
    ],
)
def test_a_query_that_means_nothing_is_told_so(root: TestClient, query: str, told: str) -> None:
    page = root.get(f"/admin/tasks?{query}")
    assert page.status_code == (422 if told else 200)
    assert told in page.text
    assert "<b>" not in page.text


def test_pages_follow_one_another(site: LabelingApp, root: TestClient) -> None:
    seen: list[str] = []
    place = "/admin/tasks?campaign=marked"
    while place:
        text = root.get(place).text
        seen += re.findall(r'href="/admin/tasks/([0-9a-f]+)"', text)
        following = re.search(r'class="next" href="([^"]+)"', text)
        place = following[1].replace("&amp;", "&") if following else ""
    assert len(seen) == len(set(seen)) == 30


def test_work_is_a_page_and_a_table_without_formulas(site: LabelingApp, root: TestClient) -> None:
    site.store.annotator("=cmd()")
    say(site, "=cmd()", of_marked(site, 9))
    assert "=cmd()" in root.get("/admin/work").text
    table = root.get("/admin/work.csv")
    assert table.headers["content-type"].startswith("text/csv")
    assert "'=cmd()" in table.text
    assert root.get("/admin/work?since=soon").status_code == 422
    assert root.get("/admin/work.csv?since=soon").status_code == 422


def test_the_pages_speak_the_visitors_language(root: TestClient) -> None:
    page = root.get("/admin/tasks", headers={"accept-language": "zh"})
    assert '<html lang="zh">' in page.text
    assert "查找任务" in page.text
    assert root.get("/admin/tasks/nowhere").status_code == 422
    assert root.get("/admin/tasks/nowhere", headers={"accept-language": "zh"}).status_code == 422
