"""Answers, agreement and the forecast over time, on records written by hand."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Annotator, Answer, Judgement, Task, key_of_import
from labeling_ui.quality.label_reader import Labels
from labeling_ui.quality.over_time import MOST_PERIODS, Given, agreement_over_time, forecast, over_time

NOW = datetime(2026, 3, 20, 12, 30, tzinfo=UTC)
ANN, BOB, BOT = Annotator("ann", "ann"), Annotator("bob", "bob"), Annotator("bot", "bot", simulated=True)


def said(task: Task, who: Annotator, time: datetime | str, place: int | None = 0) -> Judgement:
    answer = Answer("skip") if place is None else Answer("preferred", task.candidates[place])
    written = time if isinstance(time, str) else time.isoformat()
    return Judgement(task.id, who.id, task.candidates, answer, created_at=written, key=f"{task.id}{who.id}")


def labels(tasks: list[Task], judgements: list[Judgement]) -> Labels:
    campaigns = {name: Campaign(name=name) for name in {task.campaign for task in tasks}}
    return Labels(campaigns, {task.id: task for task in tasks}, [ANN, BOB, BOT], judgements)


def tasks(number: int, campaign: str = "main") -> list[Task]:
    return [
        Task(f"{campaign}{n}", (f"{campaign}{n}a", f"{campaign}{n}b"), campaign, id=f"{campaign}{n:03}")
        for n in range(number)
    ]


def test_answers_of_two_days_are_counted_by_the_hour() -> None:
    one, two, three = tasks(3)
    gold = Task("gold", ("c", "d"), gold=Answer("preferred", "c"))
    given = [
        said(one, ANN, NOW - timedelta(hours=2)), said(two, ANN, NOW), said(two, BOT, NOW), said(three, ANN, NOW, None),
        said(gold, ANN, NOW), said(three, BOB, "yesterday"), said(one, BOB, NOW + timedelta(days=1)),
    ]  # fmt: skip
    found = over_time(labels([one, two, three, gold], given), 9, NOW)
    assert found.period == "hour"
    assert [start.hour for start in found.starts] == [10, 11, 12]
    assert found.given == {"main": [Given(1, 0), Given(0, 0), Given(2, 1)]}
    assert (found.earlier, found.undated) == (0, 2)


def test_nobody_knows_when_imported_answers_were_given() -> None:
    given = [said(task, ANN, NOW) for task in tasks(3)]
    brought = [replace(each, key=key_of_import(each.task_id, each.annotator_id, each.answer)) for each in given[1:]]
    found = over_time(labels(tasks(3), [given[0], *brought]), 9, NOW)
    assert found.given == {"main": [Given(1, 0)]}
    assert found.undated == 2


def test_a_longer_time_is_counted_by_the_day_and_what_is_too_old_is_told() -> None:
    one, two = tasks(2)
    verdict = tasks(1, "verdict")
    given = [said(one, ANN, NOW - timedelta(days=MOST_PERIODS)), said(two, ANN, NOW - timedelta(days=1, hours=12))]
    shown = labels(verdict, [said(verdict[0], BOB, "2026-03-20T01:00:00+02:00")])
    found = over_time(labels([one, two], given), 0, NOW, verdicts=[shown])
    assert (found.period, len(found.starts), found.starts[-1].day) == ("day", MOST_PERIODS, 20)
    assert found.earlier == 1
    assert {name: [place for place, one in enumerate(days) if one.people] for name, days in found.given.items()} == {
        "main": [MOST_PERIODS - 2],
        "verdict": [MOST_PERIODS - 2],  # 23 hours UTC of the day before
    }


def test_no_answers_have_no_figures() -> None:
    found = over_time(labels(tasks(2), []), 2, NOW, "winner")
    assert (found.given, found.agreement, found.forecast) == ({}, [], None)


def test_agreement_is_told_for_groups_of_tasks_in_their_order() -> None:
    asked = tasks(60)
    given = []
    for number, task in enumerate(asked):
        at = NOW + timedelta(minutes=number)
        divided = number >= 40 and number % 2
        given += [said(task, ANN, at, number % 3 == 0), said(task, BOB, at, (number % 3 == 0) != divided)]
    found = agreement_over_time(labels(asked, given), "winner")
    assert [each.agreement.tasks for each in found] == [20, 20, 20]
    assert [each.agreement.alpha for each in found[:2]] == [1, 1]
    assert found[2].agreement.alpha is not None
    assert found[2].agreement.alpha < 0.2
    assert found[1].until == NOW + timedelta(minutes=39)
    assert agreement_over_time(labels(asked[:39], given[:78]), "winner") == []


def test_an_even_pace_names_one_day_and_an_uneven_one_an_interval() -> None:
    even = forecast([10] * 5, 100, "day", NOW)
    assert even is not None
    assert even.likely == even.earliest == even.latest == NOW + timedelta(days=10)
    # Mean 20, s = 10, t = 4.3027: the pace may be zero, 20 − 4.3027 × 10 / √3 < 0.
    uneven = forecast([10, 20, 30], 40, "hour", NOW)
    assert uneven is not None
    assert (uneven.rate, uneven.likely, uneven.latest) == (20, NOW + timedelta(hours=2), None)
    assert uneven.earliest is not None
    n = (uneven.earliest - NOW) / timedelta(hours=1)
    assert 20 * n + 43.0265 * np.sqrt(n + n * n / 3) == pytest.approx(40, rel=1e-5)


@pytest.mark.parametrize(("judged", "waiting"), [([10, 10], 5), ([0, 0, 0], 5), ([10, 10, 10], 0)])
def test_what_cannot_be_told_is_not(judged: list[int], waiting: int) -> None:
    assert forecast(judged, waiting, "day", NOW) is None


def test_a_pace_that_takes_forever_names_no_day() -> None:
    found = forecast([1, 0, 0, 0], 10**9, "hour", NOW)
    assert found is not None
    assert (found.likely, found.latest) == (None, None)


def test_the_interval_holds_the_day_on_which_it_is_done() -> None:
    draw, held, n = np.random.default_rng(0), 0, 400
    for _ in range(n):
        days = draw.negative_binomial(4, 4 / 44, size=200)  # 40 a day, give or take 21
        found = forecast([int(day) for day in days[:10]], 800, "day", NOW)
        assert found is not None
        took = int(np.searchsorted(np.cumsum(days[10:]), 800)) + 1
        low = found.earliest is None or found.earliest <= NOW + timedelta(days=took)
        high = found.latest is None or found.latest >= NOW + timedelta(days=took - 1)
        held += low and high
    assert held / n > 0.91


def test_what_is_lacking_now_is_done_later_than_now() -> None:
    # Ten a day for five days and three today: two more take a fifth of a day from now on, and not from midnight on.
    asked = tasks(53)
    given = [said(task, ANN, NOW - timedelta(days=5 - n // 10)) for n, task in enumerate(asked)]
    found = over_time(labels(asked, given), 2, NOW).forecast
    assert found is not None
    assert found.rate == 10
    assert found.likely == pytest.approx(NOW + timedelta(days=0.2), abs=timedelta(seconds=1))
    assert found.earliest is not None
    assert found.earliest > NOW
