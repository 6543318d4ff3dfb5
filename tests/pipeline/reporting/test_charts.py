"""The drawings of a training: what is drawn, smoothed and shaded, in the colours of the page."""

import math
import re

import pytest

from pipeline.reporting import charts
from pipeline.reporting.report import phases, training_charts
from tests.pipeline.reporting.example import example


def test_only_what_was_logged_is_drawn() -> None:
    titles = [title for title, _ in training_charts(({"step": 1, "score": 0.5}, {"step": 2, "score": 0.7}))]
    assert titles == ["Score and reward"]


def test_phases_are_summed_over_steps() -> None:
    rows = ({"step": 1, "seconds_sample": 2.0, "seconds_old_logprobs": 1.0}, {"step": 2, "seconds_sample": 3.0})
    assert phases(rows) == [("sample", 5.0), ("old logprobs", 1.0)]


SHADE = "fill: var(--warn-line)"


def test_the_drawing_of_a_figure_is_shaded_where_its_alarm_was_on() -> None:
    data = example()
    shaded = [title for title, drawing in training_charts(data.training, data.alarms) if SHADE in drawing]
    assert shaded == ["KL from the base, nats per response", "Length, tokens"]
    assert not [title for title, drawing in training_charts(data.training) if SHADE in drawing]


def test_uncertainty_and_spread_are_no_parts_of_the_score() -> None:
    row = {"step": 1, "score": 0.5, "score_std": 0.1, "score_spread": 0.2, "score_learned_std": 0.3}
    titles = [title for title, _ in training_charts((row,))]
    assert titles[:2] == ["Score and reward", "Score: learned std"]
    assert len(titles) == 4


def test_smoothing_starts_at_the_first_value_and_steps_over_gaps() -> None:
    # Weights 0.3 and 0.7 * 0.3 = 0.21, corrected by their sum: (0.21 * 2 + 0.3 * 4) / 0.51
    smooth = charts.smoothed([2.0, math.nan, 4.0])
    assert smooth[0] == pytest.approx(2.0)
    assert math.isnan(smooth[1])
    assert smooth[2] == pytest.approx((0.21 * 2 + 0.3 * 4) / 0.51)


def test_drawings_carry_no_colours_of_their_own() -> None:
    for _, drawing in training_charts(example().training):
        assert not re.findall(r"#[0-9a-f]{6}\b", re.sub(r'(id="|#)[mp][0-9a-f]{10}', "", drawing))


def test_what_the_held_out_judge_saw_is_drawn_at_the_steps_at_which_it_looked() -> None:
    judged = {"judge_gain": 0.2, "judge_low": -0.1, "judge_high": 0.5}
    rows = ({"step": 1, "score": 0.5}, {"step": 10, "score": 0.7} | judged)
    title = "Gain by the held-out judge, standard deviations"
    drawn = dict(training_charts(rows))
    assert "95% intervals" in drawn[title]
    assert title not in dict(training_charts(rows[:1]))
