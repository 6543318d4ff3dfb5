"""The page of the instructions: who may edit them, the preview, and two leads at once."""

import html
import re
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from labeling_ui.campaign import Campaign
from tests.labeling_ui.pages import PLAIN, add_tasks
from tests.labeling_ui.signed_in import LabelingApp, open_app

PAYLOAD = "<script>alert(1)</script> [x](javascript:alert(1)) ![y](https://evil.test/i.png) **bold**</textarea><b>"
PLACE = "/admin/instructions/main"


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelingApp]:
    site = open_app(tmp_path_factory.mktemp("labels"), pairs=2)
    yield site
    site.store.close()


@pytest.fixture
def root(site: LabelingApp) -> TestClient:
    return site.client("Root", "admin")


def opened(client: TestClient, place: str = PLACE) -> str:
    """The number of the edition that the form begins from."""
    found = re.search(r'name="began_from" value="(\d+)"', client.get(place).text)
    assert found
    return found[1]


def in_form(page: str) -> str:
    """What the box of the instructions holds."""
    found = re.search(r'<textarea id="instructions"[^>]*>\n(.*?)</textarea>', page, re.DOTALL)
    assert found
    return html.unescape(found[1])


def test_only_admins_edit(site: LabelingApp, root: TestClient) -> None:
    for name, role, status in (("Ann", "annotator", 403), ("Rex", "reviewer", 403)):
        client = site.client(name, role)  # type: ignore[arg-type]
        assert client.get(PLACE).status_code == client.post(PLACE, data={"do": "save"}).status_code == status
    assert site.visitor().post(PLACE, data={"do": "save"}).status_code == 401
    data = {"instructions": "Theirs.", "began_from": opened(root), "do": "save"}
    assert root.post(PLACE, data=data, headers={"origin": "http://evil.test"}).status_code == 403
    assert site.store.campaigns()[0].instructions == ""


def test_what_is_saved_is_what_annotators_see(site: LabelingApp, root: TestClient) -> None:
    assert root.get("/admin/instructions").headers["location"] == PLACE
    written = "Prefer **short** ones.\r\n\r\n## Example\r\n\r\n> Why?\r\n"
    done = root.post(PLACE, data={"instructions": written, "began_from": opened(root), "do": "save"})
    assert (done.status_code, done.headers["location"]) == (303, f"{PLACE}?done=texts")
    page = root.get(done.headers["location"]).text
    assert "Saved." in page
    assert in_form(page) == "Prefer **short** ones.\n\n## Example\n\n> Why?"
    card = site.client("Ann").get("/api/desk").json()["cards"][0]
    assert card["instructions"] == "Prefer **short** ones.\n\n## Example\n\n> Why?"
    assert "<strong>short</strong>" in card["rendered"]["instructions"]
    assert "instructions edited" in root.get("/admin/audit").text


def test_a_preview_is_rendered_saves_nothing_and_runs_nothing(site: LabelingApp, root: TestClient) -> None:
    data = {"instructions": PAYLOAD, "began_from": opened(root), "do": "preview"}
    page = root.post(PLACE, data=data)
    assert page.status_code == 200
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "<strong>bold</strong>" in page.text
    assert "<script" not in page.text
    assert "</textarea><b>" not in page.text
    assert not re.search(r"""<(img|a|iframe|form)[^>]+(evil|javascript)""", page.text)
    assert in_form(page.text) == PAYLOAD
    assert site.store.campaigns()[0].instructions == ""
    kept = re.search(r'name="began_from" value="(\d+)"', page.text)
    assert kept
    assert kept[1] == data["began_from"]


def test_the_second_of_two_leads_sees_both_texts(site: LabelingApp, root: TestClient) -> None:
    other = site.client("Other", "admin")
    first = {"instructions": "First.", "began_from": opened(root), "do": "save"}
    second = {"instructions": "Second.", "began_from": opened(other), "do": "save"}
    assert root.post(PLACE, data=first).status_code == 303
    assert other.post(PLACE, data=second | {"do": "preview"}).status_code == 200
    told = other.post(PLACE, data=second)
    assert told.status_code == 409
    assert "somebody else changed these texts" in told.text
    assert "First." in told.text
    assert in_form(told.text) == "Second."
    assert site.store.campaigns()[0].instructions == "First."
    again = re.search(r'name="began_from" value="(\d+)"', told.text)
    assert again
    both = {"instructions": "First. Second.", "began_from": again[1], "do": "save"}
    assert other.post(PLACE, data=both).status_code == 303
    assert site.store.campaigns()[0].instructions == "First. Second."
    page = other.get(PLACE).text
    earlier = re.search(rf'href="({PLACE}\?edition=\d+)"', page)
    assert earlier
    assert in_form(other.get(earlier[1]).text) == "First."


def test_definitions_of_aspects_are_edited_too(site: LabelingApp, root: TestClient) -> None:
    place = "/admin/instructions/rates"
    add_tasks(site.store, 1, Campaign(name="rates", kind="rating", aspects=("helpful", "<b>"), **PLAIN))
    data = {
        "instructions": "", "aspect-0": "helpful", "definition-0": "Does it help?", "aspect-1": "<b>",
        "definition-1": "<i>x</i>", "began_from": opened(root, place), "do": "save",
    }  # fmt: skip
    assert root.post(place, data=data).status_code == 303
    assert site.store.campaigns()[1].definitions == {"helpful": "Does it help?", "<b>": "<i>x</i>"}
    assert site.store.version("rates") == 1
    page = root.get(place).text
    assert "<b>" not in page
    assert "<i>x" not in page


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"instructions": "x" * 12_001}, "at most 12000"),
        ({"instructions": "a\0b"}, "cannot be stored"),
        ({"instructions": "x", "aspect-0": "none", "definition-0": "y"}, "definitions name none"),
    ],
)
def test_what_cannot_be_saved_is_told_and_not_lost(
    site: LabelingApp, root: TestClient, data: dict[str, str], told: str
) -> None:
    answered = root.post(PLACE, data={**data, "began_from": opened(root), "do": "save"})
    assert answered.status_code == 422
    assert told in answered.text
    assert site.store.campaigns()[0].instructions == ""
    assert root.get("/admin/instructions/nowhere").status_code == 422
    assert root.post("/admin/instructions/nowhere", data=data).status_code == 422
    for number in ("", "-1", "9" * 30, "x"):
        assert root.post(PLACE, data={"instructions": "New", "began_from": number, "do": "save"}).status_code == 409
