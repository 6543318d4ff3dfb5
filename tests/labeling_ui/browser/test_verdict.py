"""In a real browser, the tasks of a verdict come among the others, and nothing shows which they are."""

import json
import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, Response, expect

from labeling_ui.store.store import Store
from tests.labeling_ui.browser.conftest import Site, Visit, finish, press

Shoot = Callable[[Page, str], None]
TASKS = 24


def look(page: Page) -> str:
    """The card's markup without texts and ids."""
    markup = str(page.locator("[data-card]").evaluate("card => card.outerHTML"))
    return re.sub(r"[0-9a-f]{16}", "", re.sub(r">[^<]*<", "><", markup))


def of_each_kind(site: Site) -> dict[str, bool]:
    """By task: whether it is a verdict's."""
    store = Store(site.database)
    found = {task.id: task.campaign != "main" for task in store.tasks()}
    store.close()
    return found


def test_an_annotator_judges_both_and_cannot_tell_them(visit: Visit, sites: dict[str, Site], shoot: Shoot) -> None:
    bodies: list[Any] = []

    def keep(response: Response) -> None:
        if "/api/desk" in response.url or "/api/judgements" in response.url or "/api/history" in response.url:
            bodies.append(response.json())

    page = visit("judged", "Ann")
    page.on("response", keep)
    page.reload()
    expect(page.locator("[data-card]")).to_be_visible()
    page.wait_for_timeout(200)
    verdict, looks = of_each_kind(sites["judged"]), []
    for number in range(1, TASKS + 1):
        looks.append(look(page))
        if number == 3:
            shoot(page, "verdict-among-others")
        finish(page, "t", done=number)
    expect(page.locator(".done")).to_contain_text("All done")
    press(page, "h")
    expect(page.locator("dialog .entry").first).to_be_visible()
    order = [verdict[each.task_id] for each in sites["judged"].said(page.name)]  # type: ignore[attr-defined]
    assert sum(order) == TASKS / 2
    assert sum(order[: TASKS // 2]) in range(2, TASKS // 2 - 1), "neither kind comes first"
    of_kind = [{shown for shown, mine in zip(looks, order, strict=True) if mine is kind} for kind in (True, False)]
    assert of_kind[0] == of_kind[1], "the payload on the left, and on the right"
    sent = json.dumps(bodies)
    for sign in ("verdict-0", "purpose", "campaign", "champion", "candidate"):
        assert sign not in sent
        assert sign not in page.content()
    cards = {card["id"]: card for body in bodies if isinstance(body, dict) for card in body["cards"] or ()}
    assert {verdict[each] for each in cards} == {True, False}
    texts = ("id", "ticket", "prompt", "responses")
    shown = [
        {**card, "rendered": [list(card["rendered"]), card["rendered"]["instructions"]]} for card in cards.values()
    ]
    alike = [{name: card[name] for name in card if name not in texts} for card in shown]
    assert all(each == alike[0] for each in alike)
