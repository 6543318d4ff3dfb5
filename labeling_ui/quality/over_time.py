"""A campaign over time: answers in each hour or day, agreement along the way, and when it will be done.

Plain records in, plain numbers out; `web/static/over_time.html` draws them. Left out on purpose: weekdays and nights.
The forecast takes one period to be like another, and its interval is as wide as they were unlike.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np
from scipy.special import stdtrit

from labeling_ui.data_model import Judgement
from labeling_ui.quality.agreement import Agreement
from labeling_ui.quality.assessment import alpha_of, said_by_scale
from labeling_ui.quality.label_reader import Labels

Period = Literal["hour", "day"]
MOST_PERIODS = 60
_LENGTH = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
_HOURS_UP_TO = timedelta(days=2)
_PACE = {"hour": 24, "day": 14}
"""The pace is that of so many periods at most, the one that still runs left out."""
_FEWEST_PERIODS = 3
_FEWEST_TASKS = 20
_MOST_GROUPS = 12
_UPPER = 0.975
_LONGEST = timedelta(days=3653)


@dataclass(frozen=True, slots=True)
class Given:
    """Answers of one campaign in a period."""

    people: int
    simulated: int


@dataclass(frozen=True, slots=True)
class AgreementThen:
    """Agreement on tasks whose last answers came from `since` to `until`."""

    since: datetime
    until: datetime
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class Forecast:
    """When the answers that are lacking will be in, at the pace of the last `periods`: a guess, and a 95% interval.

    `latest` is None if the pace is so uneven that there is none; so are all three if they are over ten years away.
    """

    periods: int
    rate: float
    likely: datetime | None
    earliest: datetime | None
    latest: datetime | None


@dataclass(frozen=True, slots=True)
class OverTime:
    """`starts` of the periods (UTC), and by campaign what was `given` in each.

    `earlier` and `undated` answers are in none: they came before the first one, or nobody knows when. `agreement` is on
    `scale`, the one with the most answers.
    """

    period: Period
    starts: Sequence[datetime]
    given: Mapping[str, Sequence[Given]]
    earlier: int
    undated: int
    scale: str
    agreement: Sequence[AgreementThen]
    forecast: Forecast | None


def over_time(
    labels: Labels, waiting: int, now: datetime, scale: str | None = None, verdicts: Sequence[Labels] = ()
) -> OverTime:
    """The figures of `labels`, with answers in `verdicts` counted too; gold tasks and repeats are left out.

    `waiting` judgements are lacking. `scale` is that of the agreement to follow; None for none.
    """
    counted = [each for some in (labels, *verdicts) for each in _answers(some)]
    times = [each.time for each in counted if each.time is not None and each.time <= now]
    first = min(times, default=now)
    period: Period = "hour" if now - first <= _HOURS_UP_TO else "day"
    starts = _starts(period, first, now)
    place = {start: number for number, start in enumerate(starts)}
    people: dict[str, list[int]] = {}
    simulated: dict[str, list[int]] = {}
    judged, earlier, undated = [0] * len(starts), 0, 0
    for each in counted:
        if each.time is None or each.time > now:
            undated += 1
            continue
        at = place.get(_start(period, each.time))
        if at is None:
            earlier += 1
            continue
        for kind in (people, simulated):
            kind.setdefault(each.campaign, [0] * len(starts))
        (simulated if each.simulated else people)[each.campaign][at] += 1
        judged[at] += not each.skipped
    return OverTime(
        period=period,
        starts=starts if times else [],
        given={name: [Given(*both) for both in zip(people[name], simulated[name], strict=True)] for name in people},
        earlier=earlier,
        undated=undated,
        scale=scale or "",
        agreement=agreement_over_time(labels, scale) if scale else [],
        forecast=forecast(judged[:-1], waiting, period, now) if times else None,
    )


def agreement_over_time(labels: Labels, scale: str) -> list[AgreementThen]:
    """Agreement on groups of as many tasks each, in the order of their last answers; none if tasks are too few."""
    units = {unit: said for unit, said in said_by_scale(labels).get(scale, {}).items() if len(said) > 1}
    shared = {unit[0] for unit in units}
    last: dict[str, datetime] = {}
    for each in labels.judgements:
        time = _time(each)
        if each.task_id in shared and time is not None:
            last[each.task_id] = max(time, last.get(each.task_id, time))
    tasks = sorted(last, key=lambda task: (last[task], task))
    groups = min(_MOST_GROUPS, len(tasks) // _FEWEST_TASKS)
    if groups < 2:
        return []
    group_of = {task: number * groups // len(tasks) for number, task in enumerate(tasks)}
    parts: list[dict[tuple[str, ...], Mapping[str, str | int]]] = [{} for _ in range(groups)]
    for unit, said in units.items():
        if unit[0] in group_of:
            parts[group_of[unit[0]]][unit] = said
    ends = [[task for task in tasks if group_of[task] == number] for number in range(groups)]
    return [
        AgreementThen(last[of[0]], last[of[-1]], alpha_of(scale, part)) for of, part in zip(ends, parts, strict=True)
    ]


def forecast(judged: Sequence[int], waiting: int, period: Period, now: datetime) -> Forecast | None:
    """When `waiting` judgements, lacking `now`, will be in, after so many were `judged` in each whole period before.

    The interval is a prediction: n periods bring n times the mean, give or take Student's quantile times
    s √(n + n²/k), with s the spread of the last k periods. None if nothing is lacking, or too little is known.
    """
    recent = judged[-_PACE[period] :]
    if not waiting or len(recent) < _FEWEST_PERIODS or not sum(recent):
        return None
    k, mean = len(recent), float(np.mean(recent))
    spread = float(np.std(recent, ddof=1)) * float(stdtrit(k - 1, _UPPER))

    def then(sign: int) -> datetime | None:
        periods = _solve(lambda n: n * mean + sign * spread * math.sqrt(n + n * n / k), waiting)
        longest = _LONGEST / _LENGTH[period]
        return None if periods is None or periods > longest else now + periods * _LENGTH[period]

    return Forecast(k, mean, then(0), then(1), then(-1))


def _solve(brought: Callable[[float], float], waiting: int) -> float | None:
    """After how many periods so much was brought; None if never."""
    high = 1.0
    while brought(high) < waiting:
        high *= 2
        if high > 1e9:
            return None
    low = 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if brought(middle) < waiting else (low, middle)
    return high


@dataclass(frozen=True, slots=True)
class _Answer:
    campaign: str
    time: datetime | None
    simulated: bool
    skipped: bool


def _answers(labels: Labels) -> Iterator[_Answer]:
    simulated = {each.id for each in labels.annotators if each.simulated}
    for each in labels.judgements:
        task = labels.tasks[each.task_id]
        if task.gold is None and task.repeat_of is None:
            by_program, skipped = each.annotator_id in simulated, each.answer.verdict == "skip"
            yield _Answer(task.campaign, _time(each), by_program, skipped)


def _time(said: Judgement) -> datetime | None:
    """When it was said, in UTC; None where nobody knows."""
    if said.is_imported:
        return None
    try:
        found = datetime.fromisoformat(said.created_at)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _start(period: Period, time: datetime) -> datetime:
    hour = time.replace(minute=0, second=0, microsecond=0)
    return hour if period == "hour" else hour.replace(hour=0)


def _starts(period: Period, first: datetime, now: datetime) -> list[datetime]:
    last, length = _start(period, now), _LENGTH[period]
    number = min(MOST_PERIODS, (last - _start(period, first)) // length + 1)
    return [last - back * length for back in range(number - 1, -1, -1)]
