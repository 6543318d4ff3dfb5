"""Quotas, deadlines, assigned people and the order of campaigns end dealing, and never lose an answer."""

from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest

from foundation.errors import UserError
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer
from labeling_ui.people.accounts import Accounts
from labeling_ui.store.campaign_rules.rules import CampaignRules
from labeling_ui.store.review.review import TaskReview
from labeling_ui.store.review.texts import Texts
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import Clock, fill, outstanding, prefer

PLAIN = Campaign(gold_share=0, repeat_share=0, random_share=0)
SOON = timedelta(minutes=30)


def at(clock: Clock) -> datetime:
    return datetime.fromtimestamp(clock.now, UTC)


def with_(**settings: object) -> Campaign:
    return Campaign.model_validate({**dict(PLAIN), **settings})


def test_a_quota_is_for_each_person(store: Store) -> None:
    fill(store, 10, 2, campaign=with_(quota=3))
    ann, ben = store.annotator("ann").id, store.annotator("ben").id
    assert (store.progress(ann).done, store.progress(ann).total) == (0, 3)
    assert len(store.assignments(ann, 8)) == 3, "what is held counts"
    assert len(outstanding(store, ann)) == 3
    assert (store.progress(ann).done, store.progress(ann).total) == (3, 3)
    ((campaign, why),) = CampaignRules(store.database).closed(ann)
    assert (campaign.name, why) == ("main", "quota")
    assert len(outstanding(store, ben)) == 3


def test_a_quota_counts_known_answers_and_repeats_and_no_skips(store: Store) -> None:
    fill(store, 40, campaign=with_(quota=12, gold_share=0.3, repeat_share=0.3), gold=10)
    ann = store.annotator("ann").id
    shown = store.next_assignment(ann)
    assert shown is not None
    store.record(shown.judgement(Answer("skip", reason="unclear")))
    while shown := store.next_assignment(ann):
        assert store.progress(ann).total == 13, "the skip, and the quota, whatever comes next"
        store.record(prefer(shown))
    assert (store.progress(ann).done, store.progress(ann).total) == (13, 13)


def test_an_answer_that_is_taken_back_can_be_given_again(store: Store) -> None:
    fill(store, 10, campaign=with_(quota=2))
    ann = store.annotator("ann").id
    outstanding(store, ann)
    assert store.undo(ann, "back") is not None
    assert len(outstanding(store, ann)) == 1


def test_after_its_deadline_nothing_is_dealt_and_what_was_dealt_is_kept(store: Store, clock: Clock) -> None:
    fill(store, 10, campaign=with_(deadline=at(clock) + SOON, lease_minutes=60))
    ann, ben = store.annotator("ann").id, store.annotator("ben").id
    held = store.assignments(ann, 2)
    clock.now += SOON.total_seconds()
    assert store.assignments(ben, 2) == []
    assert (store.progress(ben).done, store.progress(ben).total) == (0, 0)
    assert store.assignments(ann, 2) == held
    for each in held:
        assert store.record(prefer(each)) == "taken"
    assert store.assignments(ann, 2) == []
    ((_, why),) = CampaignRules(store.database, clock).closed(ben)
    assert why == "deadline"


def test_a_campaign_is_for_those_who_are_assigned_to_it(store: Store) -> None:
    fill(store, 4, 2, campaign=PLAIN)
    ann, ben = store.annotator("ann").id, store.annotator("ben").id
    rules = CampaignRules(store.database)
    rules.assign("main", ["ann"])
    assert rules.people() == {"main": ["ann"]}
    assert store.assignments(ben, 2) == []
    assert store.progress(ben).total == 0
    assert store.assignments(ann, 2)
    with pytest.raises(UserError, match="nobody would be left"):
        rules.take_off("main", ["ann"])
    with pytest.raises(UserError, match="not all of these people are assigned"):
        rules.take_off("main", ["ben"])
    rules.assign("main", ["ben", "ann"])
    rules.take_off("main", ["ann"])
    assert store.assignments(ben, 2)
    rules.open_to_everybody("main")
    assert rules.people() == {}


@pytest.mark.parametrize(
    ("campaign", "name", "said"), [("other", "ann", "no campaign"), ("main", "x", "nobody of the")]
)
def test_strangers_and_campaigns_that_are_not_there_are_refused(
    store: Store, campaign: str, name: str, said: str
) -> None:
    fill(store, 1, campaign=PLAIN)
    store.annotator("ann")
    with pytest.raises(UserError, match=said):
        CampaignRules(store.database).assign(campaign, [name])


def test_campaigns_come_by_their_order(store: Store) -> None:
    fill(store, 2, campaign=with_(name="first"), asked="one")
    fill(store, 2, campaign=with_(name="second", order=-1), asked="two")
    ann = store.annotator("ann").id
    assert [each.task.campaign for each in store.assignments(ann, 4)] == ["second"] * 2 + ["first"] * 2


def test_where_one_campaign_is_closed_another_goes_on(store: Store) -> None:
    fill(store, 2, campaign=with_(name="short", quota=1), asked="one")
    fill(store, 2, campaign=with_(name="long"), asked="two")
    ann = store.annotator("ann").id
    assert [each.task.campaign for each in store.assignments(ann, 4)] == ["short", "long", "long"]


def test_nonsense_is_refused_only_when_it_is_new(store: Store, clock: Clock) -> None:
    fill(store, 5, campaign=PLAIN)
    Accounts(store.database).add("ann")
    outstanding(store, store.annotator("ann").id)
    rules = CampaignRules(store.database, clock)
    with pytest.raises(UserError, match=r"label.quota is 4, and ann has answered 5"):
        rules.change("main", lambda _: with_(quota=4))
    with pytest.raises(UserError, match=r"label.deadline is 1970-.* which is over"):
        rules.change("main", lambda _: with_(deadline=at(clock)))
    with pytest.raises(UserError, match=r"label.deadline is 1970-.* which is over"):
        rules.begin(with_(name="another", deadline=at(clock)))
    good = with_(quota=5, deadline=at(clock) + SOON)
    assert rules.change("main", lambda _: good)
    assert store.campaigns() == [good]
    clock.now += SOON.total_seconds()
    assert rules.change("main", lambda known: known.model_copy(update={"instructions": "Look twice."}))


@pytest.mark.parametrize(
    "settings", [{"quota": 0}, {"deadline": "2030-01-31T18:00:00"}, {"deadline": "soon"}, {"order": 10_000}]
)
def test_what_is_no_limit_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Input should"):
        with_(**settings)


def test_a_verdict_has_no_limits() -> None:
    verdict = with_(quota=5, deadline=datetime(2030, 1, 1, tzinfo=UTC), order=3).for_verdict("verdict", 2)
    assert (verdict.quota, verdict.deadline, verdict.order) == (None, None, 0)


def test_a_verdict_follows_the_first_campaign_of_pairs_alone(store: Store) -> None:
    verdict = with_(instructions="Of the first.").for_verdict("verdict", 3)
    for campaign in (with_(instructions="Of the first."), with_(name="second"), verdict):
        store.add_campaign(campaign)
    rules = CampaignRules(store.database)
    assert rules.change("second", lambda known: known.model_copy(update={"instructions": "Of the second."}))
    assert store.campaigns()[2] == verdict
    store.add_campaign(verdict.model_copy(update={"instructions": "As when it began."}))
    assert rules.change("main", lambda known: known)
    assert store.campaigns()[2].instructions == "As when it began.", "nothing was changed"
    assert rules.change("main", lambda known: known.model_copy(update={"instructions": "New.", "overlap": 5}))
    assert (store.campaigns()[2].instructions, store.campaigns()[2].overlap) == ("New.", 3)


def test_an_edit_while_settings_are_changed_is_not_lost(store: Store) -> None:
    fill(store, 1, campaign=PLAIN)
    review = TaskReview(store.database)
    editing = Thread(target=lambda: review.save_texts("main", Texts("Look twice."), review.editions("main")[0].number))

    def change(known: Campaign) -> Campaign:
        editing.start()
        editing.join(0.5)  # it has to wait
        return known.model_copy(update={"idle_seconds": 20.0})

    assert CampaignRules(store.database).change("main", change)
    editing.join()
    (now,) = store.campaigns()
    assert (now.instructions, now.idle_seconds) == ("Look twice.", 20)


def test_a_campaign_that_is_there_is_not_begun_again(store: Store) -> None:
    rules = CampaignRules(store.database)
    rules.begin(with_(quota=3))
    rules.begin(PLAIN)
    assert store.campaigns() == [with_(quota=3)]
    assert rules.change("another", lambda known: known) is None
