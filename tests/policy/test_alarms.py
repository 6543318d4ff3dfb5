"""Alarms go off when they should and are silent when they should."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.alarms import RULES, AlarmConfig, Alarms, alarm_spans, reward_std, tracker_metrics

CONFIG = AlarmConfig(first_steps=2, window=2)
CALM = {
    "length": 40.0, "repetition": 0.05, "score_std": 0.2, "kl": 1.0, "entropy": 1.6, "score_spread": 0.5,
}  # fmt: skip


def names(config: AlarmConfig, rows: list[dict[str, Any]]) -> list[list[str]]:
    """The alarms that are on after each row."""
    alarms = Alarms(config)
    return [[alarm.name for alarm in alarms.after(row)] for row in rows]


@pytest.mark.parametrize(
    ("alarm", "figure", "harmless", "alarming"),
    [
        ("length", "length", 63.0, 65.0),
        ("length", "length", 26.0, 24.0),
        ("repetition", "repetition", 0.14, 0.16),
        ("disagreement", "score_std", 0.29, 0.31),
        ("kl", "kl", 9.9, 10.1),
        ("entropy", "entropy", 0.49, 0.47),
        ("saturation", "score_spread", 0.051, 0.049),
    ],
)
def test_an_alarm_goes_off_just_beyond_its_limit(alarm: str, figure: str, harmless: float, alarming: float) -> None:
    calm = [CALM, CALM, CALM]
    assert names(CONFIG, calm + [CALM | {figure: harmless}] * 2)[-1] == []
    assert names(CONFIG, calm + [CALM | {figure: alarming}] * 2)[-1] == [alarm]
    off = CONFIG.model_copy(update={alarm: None})
    assert names(off, calm + [CALM | {figure: alarming}] * 2)[-1] == []


def test_every_rule_has_a_limit_and_every_limit_a_rule() -> None:
    assert set(RULES) == set(AlarmConfig.model_fields) - {"first_steps", "window"}
    assert {rule.figure for rule in RULES.values()} == set(CALM)


def test_one_step_out_of_line_is_averaged_away_and_an_alarm_ends_with_its_cause() -> None:
    longer = CALM | {"length": 75.0}  # the mean of 40 and 75 is 57.5, under 1.6 times 40
    assert names(CONFIG, [CALM, CALM, longer, CALM, longer, longer, CALM]) == [[], [], [], [], [], ["length"], []]


def test_the_first_steps_are_never_compared_with_themselves() -> None:
    rows = [CALM | {"length": length} for length in (10.0, 100.0)]
    assert names(AlarmConfig(first_steps=5, window=5), rows * 2) == [[], [], [], []]


@pytest.mark.parametrize(("responses", "steps"), [(1, 160), (16, 10), (32, 5), (33, 5), (4096, 5)])
def test_by_default_means_are_over_five_steps_or_160_responses(responses: int, steps: int) -> None:
    row = CALM | {"tokens": 40 * responses}
    longer = row | {"length": 70.0, "tokens": 70 * responses}
    on = names(AlarmConfig(), [row] * steps + [longer] * steps)
    # 1.6 times as long on average when four fifths of the window are 1.75 times as long
    assert on.index(["length"]) + 1 == steps + steps * 4 // 5 + 1
    assert names(AlarmConfig(first_steps=1, window=1), [row, longer]) == [[], ["length"]]


def test_a_length_is_compared_with_the_base_where_that_is_known() -> None:
    alarms = Alarms(AlarmConfig(window=1, first_steps=1))
    assert alarms.after({"length": 90.0, "length_ratio": 1.5}) == []
    assert alarms.after({"length": 45.0, "length_ratio": 0.75}) == [], "half as long as at first, by chance"
    (alarm,) = alarms.after({"length": 36.0, "length_ratio": 0.6})
    assert alarm.text == "responses are 0.60 times as long as the base's"


@pytest.mark.parametrize(("responses", "steps"), [(16, 10), (32, 5)])
def test_a_length_is_compared_with_the_bases_only_over_a_whole_window(responses: int, steps: int) -> None:
    row = CALM | {"length": 24.0, "length_ratio": 0.6, "tokens": 24 * responses}
    assert names(AlarmConfig(), [row] * steps) == [[]] * (steps - 1) + [["length"]]


def test_an_alarm_says_what_it_saw() -> None:
    alarms = Alarms(CONFIG)
    for row in [CALM] * 3 + [CALM | {"length": 80.0}] * 2:
        found = alarms.after(row)
    assert [(one.name, one.value, one.limit) for one in found] == [("length", 2.0, 1.6)]
    assert found[0].text == "responses are 2.00 times as long as at first"


def test_scores_that_never_differed_are_saturated_from_the_start() -> None:
    assert names(CONFIG, [CALM | {"score_spread": 0.0}]) == [["saturation"]]
    assert names(CONFIG, [CALM | {"score_std": 0.0, "length": 0.0}] * 3) == [[]] * 3


@pytest.mark.parametrize("missing", [None, math.nan, math.inf])
def test_figures_that_are_missing_or_not_finite_raise_no_alarm_and_are_not_remembered(missing: float | None) -> None:
    rows = [CALM | dict.fromkeys(CALM, missing), {"step": 2}, CALM, CALM, CALM | {"length": 80.0}]
    assert names(CONFIG, [*rows, CALM | {"length": 80.0}])[-1] == ["length"]
    assert names(CONFIG, rows[:2]) == [[], []]


@given(st.lists(st.floats(0, 100), min_size=3, max_size=20))
def test_alarms_of_the_log_as_it_was_written_are_those_of_the_rows(lengths: list[float]) -> None:
    rows: list[dict[str, Any]] = [{"length": value, "kl": value / 3, "entropy": value} for value in lengths]
    on = names(CONFIG, rows)
    for row, alarms in zip(rows, on, strict=True):
        row["alarms"] = alarms
    assert names(CONFIG, json.loads(json.dumps(rows))) == on


def test_alarms_of_a_log_are_joined_into_spans() -> None:
    on: list[list[str] | None] = [None, ["kl"], ["kl", "length"], ["length"], [], ["kl"]]
    rows = [{"step": step} | ({} if each is None else {"alarms": each}) for step, each in enumerate(on, start=1)]
    assert alarm_spans(rows) == [("kl", 2, 3), ("length", 3, 4), ("kl", 6, 6)]
    assert alarm_spans([]) == []


def test_of_a_mixture_the_most_uncertain_part_counts() -> None:
    row = {"score": 9.0, "score_learned": 5.0, "score_learned_std": 0.2, "score_other_std": 0.4}
    assert reward_std(row) == 0.4
    assert reward_std({"score": 9.0, "score_std": 0.1}) == 0.1
    assert reward_std({"score": 9.0}) is None


def test_trackers_get_numbers_and_each_alarm_as_zero_or_one() -> None:
    row = {"step": 3, "score": 1.5, "tokens": 30, "alarms": ["kl"], "note": "text"}
    given = tracker_metrics(row)
    assert {name: value for name, value in given.items() if not name.startswith("alarm/")} == {
        "score": 1.5,
        "tokens": 30,
    }
    assert given["alarm/kl"] == 1
    assert given["alarm/length"] == 0
    assert tracker_metrics({"step": 4})["alarm/kl"] == 0
