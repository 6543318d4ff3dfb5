"""What whoever leads is told: when a campaign is done, when it stalls, each once as long as it is so."""

from datetime import UTC, datetime, timedelta

import pytest

from labeling_ui.campaign import Campaign
from labeling_ui.notices.keeping import Notice, latest
from labeling_ui.notices.settings import NoticeSettings
from labeling_ui.notices.watch import SETTLED, NoticeWatch
from labeling_ui.people.accounts import Accounts
from labeling_ui.store.review.review import TaskReview
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import TIE, Clock, fill, outstanding

PLAIN = Campaign(gold_share=0, repeat_share=0, random_share=0)
HOUR = 3600.0


class Lead:
    """Looks at the store, and has been told what is in it."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store, self.clock = store, clock
        settings = NoticeSettings(addresses=("json://127.0.0.1:9",), stall_hours=2)
        self.watch = NoticeWatch(store, settings, "secret", clock)

    def told(self, after: float = 0.0) -> list[Notice]:
        self.watch.look()
        self.clock.now += after
        self.watch.look()
        with self.store.database.read() as connection:
            return latest(connection)


@pytest.fixture
def lead(store: Store, clock: Clock) -> Lead:
    return Lead(store, clock)


def kinds(told: list[Notice]) -> list[tuple[str, bool]]:
    return [(each.kind, each.over) for each in told]


def test_a_campaign_is_done_when_it_stays_so_and_again_after_new_tasks(store: Store, lead: Lead) -> None:
    fill(store, 2)
    ann = store.annotator("ann").id
    assert lead.told(SETTLED) == []
    outstanding(store, ann)
    assert lead.told(SETTLED - 1) == [], "the last answer may be taken back"
    assert store.undo(ann, "back")
    assert lead.told(SETTLED) == []
    outstanding(store, ann)
    (notice,) = lead.told(SETTLED)
    assert (notice.title, notice.text) == (
        'The campaign "main" is done', "2 tasks have all the answers that they need.",
    )  # fmt: skip
    assert kinds(lead.told(SETTLED)) == [("done", False)], "told once"
    assert kinds(Lead(store, lead.clock).told(SETTLED)) == [("done", False)], "also after a restart"
    fill(store, 3)
    assert kinds(lead.told()) == [("done", True)]
    outstanding(store, ann)
    assert kinds(lead.told(SETTLED)) == [("done", False), ("done", True)]


def test_a_campaign_without_answers_or_with_paused_tasks_is_not_done(store: Store, lead: Lead) -> None:
    tasks = fill(store, 2)
    admin = Accounts(store.database).add("Ada", "admin").id
    review = TaskReview(store.database, lead.clock)
    review.change([each.id for each in tasks], "remove", admin)
    assert lead.told(SETTLED) == [], "nobody ever answered"
    review.change([each.id for each in tasks], "restore", admin)
    shown = store.next_assignment(store.annotator("ann").id)
    assert shown
    store.record(shown.judgement(TIE))
    review.change([each.id for each in tasks if each.id != shown.task.id], "pause", admin)
    assert lead.told(SETTLED) == [], "there is more to come"
    review.change([each.id for each in tasks if each.id != shown.task.id], "remove", admin)
    assert kinds(lead.told(SETTLED)) == [("done", False)]


def test_a_stall_is_told_once_and_again_after_the_next_answer(store: Store, clock: Clock, lead: Lead) -> None:
    fill(store, 3)
    ann = store.annotator("ann").id
    assert lead.told(2 * HOUR - 1) == []
    (notice,) = lead.told(1)
    assert (notice.title, notice.text) == (
        'The campaign "main" stalls', "No answer has come for 2 hours, and 3 are lacking.",
    )  # fmt: skip
    assert kinds(lead.told(HOUR)) == [("stalled", False)]
    shown = store.next_assignment(ann)
    assert shown
    store.record(shown.judgement(TIE))
    assert kinds(lead.told(2 * HOUR - 1)) == [("stalled", True)]
    assert kinds(lead.told(2)) == [("stalled", False), ("stalled", True)]


def test_tasks_that_come_after_a_campaign_was_done_do_not_stall_at_once(store: Store, lead: Lead) -> None:
    fill(store, 1)
    outstanding(store, store.annotator("ann").id)
    assert kinds(lead.told(SETTLED)) == [("done", False)]
    lead.clock.now += 100 * HOUR
    fill(store, 2)
    assert kinds(lead.told()) == [("done", True)]
    assert kinds(lead.told(2 * HOUR)) == [("stalled", False), ("done", True)]


def test_after_its_deadline_nothing_stalls(store: Store, clock: Clock, lead: Lead) -> None:
    deadline = datetime.fromtimestamp(clock.now, UTC) + timedelta(hours=1)
    fill(store, 2, campaign=PLAIN.model_copy(update={"deadline": deadline}))
    assert lead.told(3 * HOUR) == []


def test_each_campaign_is_told_of_by_itself(store: Store, lead: Lead) -> None:
    fill(store, 1, campaign=PLAIN.model_copy(update={"name": "one"}), asked="one")
    outstanding(store, store.annotator("ann").id)
    fill(store, 1, campaign=PLAIN.model_copy(update={"name": "two"}), asked="two")
    found = {(each.campaign, each.kind) for each in lead.told(3 * HOUR)}
    assert found == {("one", "done"), ("two", "stalled")}
