"""The simulation of verdicts: a rule that is wrong is found out, and the verdict's own keeps its promise."""

import numpy as np

from benchmarks.verdict import campaigns, covered, fixed_power, judgements_until, null, z_values


def test_two_identical_policies_are_equally_good_on_average() -> None:
    votes, bets = campaigns((0.5, 0.5), 3, 300, 200)
    assert votes.shape == (200, 300)
    assert bets.shape == (200, 100)
    np.testing.assert_allclose(votes.reshape(200, 100, 3).mean(axis=2), bets)
    assert abs(votes.mean() - 0.5) < 0.02


def test_only_one_bet_a_prompt_keeps_to_five_per_cent() -> None:
    found = null((0.5, 0.5), 3, 400)
    assert found["verdict"] <= 0.06
    assert found["votes"] > 0.1
    assert found["z"] > 0.25


def test_the_confidence_sequence_covers_and_a_wrong_truth_is_not_covered() -> None:
    assert covered((2.0, 2.0), 2, 300) > 0.94


def test_z_is_the_mean_over_its_error() -> None:
    np.testing.assert_allclose(z_values(np.array([[1.0, 0.0, 1.0, 1.0]]))[0, 3], 0.25 / np.sqrt(0.1875 / 4))


def test_a_better_candidate_is_decided_on_sooner() -> None:
    medians = [np.median(judgements_until(rate, 1, 100)) for rate in (0.65, 0.8)]
    assert medians[1] < medians[0] / 2
    assert fixed_power(0.8)[40] > 0.95 > fixed_power(0.6)[40]
