"""What the stages share: the figures of a log that a manifest keeps."""

import pytest

from pipeline.joints import last_figures


def test_the_last_tenth_of_a_log_is_averaged_and_its_alarms_are_named() -> None:
    log = [{"step": step, "kl": float(step), "alarms": ["length"]} for step in range(1, 19)]
    log += [{"step": 19, "kl": 3.0, "alarms": ["kl", "entropy"]}, {"step": 20, "kl": 4.0, "alarms": ["kl"]}]
    assert last_figures(log) == {"kl": pytest.approx(3.5), "alarms": ["entropy", "kl"]}


def test_a_figure_that_only_some_steps_have_is_left_out() -> None:
    log = [{"step": step, "kl": 1.0} for step in range(1, 20)] + [{"step": 20, "kl": 2.0, "clip_fraction": 0.5}]
    assert last_figures(log) == {"kl": 1.5, "alarms": []}
    assert last_figures(log[:1]) == {"kl": 1.0, "alarms": []}
