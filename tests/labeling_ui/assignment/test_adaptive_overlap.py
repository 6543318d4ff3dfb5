"""How sure a vote is, and how many annotators a pair then needs, on numbers worked by hand."""

import pytest

from labeling_ui.assignment.adaptive_overlap import overlap_wanted, vote_posterior
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer
from labeling_ui.quality.skill import Choice

ONE, OTHER, TIE = Answer("preferred", "one"), Answer("preferred", "other"), Answer("tie")


def test_without_votes_nothing_is_known() -> None:
    assert vote_posterior([]) == 0.5


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([(ONE, 0.8)], 0.8),
        ([(ONE, 0.8), (ONE, 0.8)], 16 / 17),
        ([(ONE, 0.8), (OTHER, 0.8)], 0.5),
        ([(ONE, 0.9), (OTHER, 0.6)], 9 / (9 + 1.5)),
        ([(TIE, 0.8)], 4 / (4 + 1 + 1)),
        ([(TIE, 0.8), (TIE, 0.8), (ONE, 0.8)], 16 / (16 + 4 + 1)),
        ([(ONE, 0.3)], 0.5),  # nobody's vote is turned around
        ([(ONE, 1.0)], 0.999),
    ],
)
def test_the_posterior_of_a_vote(votes: list[tuple[Answer, float]], expected: float) -> None:
    assert vote_posterior(votes) == pytest.approx(expected)


def test_more_annotators_only_in_doubt() -> None:
    campaign = Campaign(overlap=1, max_overlap=4, confidence=0.9)
    assert overlap_wanted(campaign, 1, []) == 1
    assert overlap_wanted(campaign, 1, [(ONE, 0.95)]) == 1, "a sure vote is enough"
    assert overlap_wanted(campaign, 1, [(ONE, 0.8)]) == 2, "one more, not all at once"
    assert overlap_wanted(campaign, 1, [(ONE, 0.8), (ONE, 0.8)]) == 2
    assert overlap_wanted(campaign, 1, [(ONE, 0.8), (OTHER, 0.8)]) == 3
    assert overlap_wanted(campaign, 1, [(ONE, 0.8), (OTHER, 0.8)] * 2) == 4, "and never more than the maximum"
    assert overlap_wanted(campaign, 1, [(ONE, 0.8), (OTHER, 0.8)] * 4) == 4


def test_as_many_as_at_first_are_asked_in_any_case() -> None:
    campaign = Campaign(overlap=3, max_overlap=5, confidence=0.9)
    assert overlap_wanted(campaign, 3, [(ONE, 0.99)]) == 3
    assert overlap_wanted(campaign, 3, [(ONE, 0.99)] * 3) == 3


def test_a_vote_that_is_just_sure_enough_is_not_in_doubt() -> None:
    assert overlap_wanted(Campaign(max_overlap=2, confidence=0.8), 1, [(ONE, 0.8)]) == 1


def test_an_overlap_that_is_fixed_stays() -> None:
    assert overlap_wanted(Campaign(overlap=2), 2, [(ONE, 0.6), (OTHER, 0.6)]) == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"overlap": 3, "max_overlap": 2}, "max_overlap is 2, and overlap is 3 already"),
        ({"kind": "rating", "max_overlap": 3}, "needs kind pairwise, not rating"),
        ({"max_overlap": 3, "confidence": 1.0}, "less than 1"),
        ({"max_overlap": 3, "confidence": 0.5}, "greater than 0.5"),
        ({"max_overlap": 0}, "greater than or equal to 1"),
    ],
)
def test_nonsense_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Campaign.model_validate(settings)


def test_a_verdict_keeps_its_number_of_judges() -> None:
    verdict = Campaign(overlap=1, max_overlap=5).for_verdict("verdict", 3)
    assert (verdict.overlap, verdict.max_overlap) == (3, None)


def test_what_is_assumed_of_strangers_is_what_the_skill_model_begins_with() -> None:
    from labeling_ui.assignment.adaptive_overlap import ASSUMED
    from labeling_ui.quality.skill import estimate

    known = {("task", "one", "other"): True}
    found = estimate([Choice("ann", ("task", "one", "other"), True)], known, intervals=False)
    assert ASSUMED < found["ann"].accuracy < ASSUMED + 0.05
