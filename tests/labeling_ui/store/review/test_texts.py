"""Editing the texts of a campaign: what changes, what stays, and two leads at once."""

import threading
from collections.abc import Iterator

import pytest

from foundation.errors import UserError
from labeling_ui.campaign import Campaign
from labeling_ui.store.review.review import TaskReview
from labeling_ui.store.review.texts import EditedMeanwhile, Texts
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import fill, prefer


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = Store(store_url)
    yield store
    store.close()


@pytest.fixture
def review(store: Store) -> TaskReview:
    return TaskReview(store.database)


def test_an_edit_applies_at_once_and_keeps_every_answer_and_the_version(store: Store, review: TaskReview) -> None:
    fill(store, 3, campaign=Campaign(instructions="Old.", gold_share=0, repeat_share=0))
    ann = store.annotator("Ann").id
    given = store.next_assignment(ann)
    assert given is not None
    store.record(prefer(given))
    review.save_texts("main", Texts("New."), review.editions("main")[0].number)
    assert store.version("main") == 1
    assert len(list(store.judgements())) == 1
    following = store.next_assignment(ann)
    assert following is not None
    assert following.campaign.instructions == "New."
    assert [each.texts.instructions for each in review.editions("main")] == ["New.", "Old."]
    assert store.verify() == []


def test_whoever_saves_second_is_told_and_overwrites_nothing(store: Store, review: TaskReview) -> None:
    store.add_campaign(Campaign(instructions="Old."))
    opened = review.editions("main")[0].number
    review.save_texts("main", Texts("First."), opened)
    with pytest.raises(EditedMeanwhile, match="changed since"):
        review.save_texts("main", Texts("Second."), opened)
    assert store.campaigns()[0].instructions == "First."
    review.save_texts("main", Texts("First."), opened)  # the same press again
    review.save_texts("main", Texts("Both."), review.editions("main")[0].number)
    assert store.campaigns()[0].instructions == "Both."


def test_of_many_who_save_at_once_one_succeeds(store: Store, review: TaskReview) -> None:
    store.add_campaign(Campaign(instructions="Old."))
    opened = review.editions("main")[0].number
    ready, refused = threading.Barrier(8), []

    def save(number: int) -> None:
        ready.wait()
        try:
            review.save_texts("main", Texts(f"Text {number}."), opened)
        except EditedMeanwhile:
            refused.append(number)

    threads = [threading.Thread(target=save, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 7
    assert len(review.editions("main")) == 2


def test_other_settings_changed_meanwhile_are_kept(store: Store, review: TaskReview) -> None:
    store.add_campaign(Campaign(instructions="Old.", overlap=1))
    opened = review.editions("main")[0].number
    store.add_campaign(Campaign(instructions="Old.", overlap=3))
    review.save_texts("main", Texts("New."), opened)
    assert (store.campaigns()[0].instructions, store.campaigns()[0].overlap) == ("New.", 3)


def test_a_verdict_keeps_the_texts_of_the_campaign_it_cannot_be_told_from(store: Store, review: TaskReview) -> None:
    first, second = Campaign(instructions="Old."), Campaign(name="second", instructions="Other.")
    for campaign in (first, second, first.for_verdict("verdict-1", 3)):
        store.add_campaign(campaign)
    for name in ("main", "second"):
        review.save_texts(name, Texts(f"New, {name}."), review.editions(name)[0].number)
    assert [each.instructions for each in store.campaigns()] == ["New, main.", "New, second.", "New, main."]
    assert store.campaigns()[2].is_verdict
    with pytest.raises(UserError, match="is a verdict"):
        review.editions("verdict-1")


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (Texts("x" * 12_001), "at most 12000 characters"),
        (Texts("\0"), "cannot be stored"),
        (Texts("", {"helpful": "x" * 501}), "up to 500 characters"),
        (Texts("", {"kind": "What is it?"}), "definitions name kind"),
    ],
)
def test_texts_that_no_campaign_may_have_are_refused(store: Store, review: TaskReview, texts: Texts, told: str) -> None:
    store.add_campaign(Campaign(kind="rating", instructions="Old."))
    with pytest.raises(UserError, match=told):
        review.save_texts("main", texts, review.editions("main")[0].number)
    with pytest.raises(UserError, match="no campaign"):
        review.save_texts("other", Texts("New."), 1)
    assert store.campaigns()[0].instructions == "Old."
