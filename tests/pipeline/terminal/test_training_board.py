"""The policy stage as it is shown while it runs: on a terminal, in a log file, and where nothing is to be shown."""

import math
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from pipeline.terminal.training_board import Board, clock, watch
from policy.alarms import AlarmConfig

CONFIG = AlarmConfig(first_steps=2, window=2)


def row(step: int, **figures: Any) -> dict[str, Any]:
    figures = {"length": 40.0, "score": 0.5, "kl": 1.0, "seconds_sample": 3.0, "seconds_update": 1.0} | figures
    return {"step": step, "tokens_per_second": 250.0, "peak_memory_gb": 4.81} | figures


def shown(rows: list[dict[str, Any]], total: int = 10, width: int = 100, encoding: str = "utf-8") -> str:
    """The board after these rows, as text."""

    class File(StringIO):
        @property
        def encoding(self) -> str:  # type: ignore[override]
            return encoding

    console = Console(file=File(), width=width, force_terminal=True, color_system=None)
    board = Board(total, CONFIG)
    for each in rows:
        board.after(each)
    console.print(board)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def line(text: str, start: str) -> str:
    return next(each for each in text.splitlines() if each.startswith(start))


def test_each_figure_has_its_first_steps_its_last_ones_and_its_course() -> None:
    text = shown([row(1, score=1.0), row(2, score=2.0), row(3, score=3.0), row(4, score=8.0)])
    assert line(text, "score").split() == ["score", "1.50", "5.50", "▁▂▃█"]
    assert "first 2" in text
    assert "last 2" in text
    assert "steps 1 to 4" in text
    assert "gradient norm" not in text


def test_speed_memory_and_what_is_left_follow_from_the_last_steps() -> None:
    text = shown([row(1, seconds_sample=90.0), row(2), row(3, seconds_sample=5.0)])
    # The last two steps took 4 and 6 seconds; seven are left.
    assert "5.0 s per step, 250 tokens/s, peak memory 4.8 GB" in text
    assert "about 0:35 left" in text
    assert "sample 80%, update 20%" in text
    assert "3/10 steps" in text


def test_the_first_step_which_also_warms_up_says_nothing_of_what_is_left() -> None:
    assert "left" not in shown([row(1, seconds_sample=90.0)])
    assert "about 0:32 left" in shown([row(1, seconds_sample=90.0), row(2)])  # eight steps of four seconds


def test_an_alarm_is_shown_while_it_is_on_and_kept_when_it_is_over() -> None:
    rows = [row(1), row(2), *(row(step, length=80.0) for step in (3, 4, 5))]
    assert line(shown(rows), "ALARM").rstrip() == (
        "ALARM length, since step 4: responses are 2.00 times as long as at first (policy.alarms.length=1.6)"
    )
    text = shown([*rows, row(6), row(7)])
    assert "ALARM" not in text
    assert line(text, "alarm").rstrip() == "alarm length, over: steps 4 to 5"


def test_parts_of_a_mixture_stand_below_the_score_and_their_names_are_text() -> None:
    text = shown([row(1, **{"score_[red]x[/red]\x1b[2J": 1.0, "alarms": ["kl"]})])
    labels = [each.split("  ")[0] for each in text.splitlines()]
    assert labels.index("score: [red]x[/red]?[2J") == labels.index("score") + 1


@pytest.mark.parametrize("figure", [math.nan, math.inf, None])
def test_figures_that_are_missing_or_not_finite_are_a_dash_and_a_gap(figure: float | None) -> None:
    text = shown([row(1, kl=figure), row(2, kl=figure), row(3, kl=2.0), row(4, kl=3.0)])
    assert line(text, "KL").split() == ["KL,", "nats", "per", "response", "-", "2.50", "▁█"]


def test_where_the_terminal_is_narrow_or_knows_no_bars_there_are_none() -> None:
    rows = [row(1), row(2), row(3)]
    assert "▁" in shown(rows, width=60)
    assert "▁" not in shown(rows, width=40)
    assert "steps 1 to" not in shown(rows, encoding="ascii")


def test_without_a_terminal_there_are_lines_and_one_for_each_alarm() -> None:
    console = Console(file=StringIO(), width=40)
    with watch(console, 7, CONFIG) as on_step:
        for step, length in enumerate((40, 40, 80, 80, 80, 40, 40), start=1):
            on_step(row(step, length=float(length), kl=-0.001))
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue().splitlines()
    assert text[0] == "policy: started"
    assert "1/7" in text[1]
    assert "score 0.50, kl 0.00, length 40.00, 250 tokens/s" in text[1]
    assert text[2] == (
        "policy: ALARM length at step 4: responses are 2.00 times as long as at first (policy.alarms.length=1.6)"
    )
    assert text[3] == "policy: the alarm length is over at step 6."
    assert "7/7" in text[4]


def test_on_a_terminal_the_last_board_stays() -> None:
    console = Console(file=StringIO(), width=100, force_terminal=True)
    with watch(console, 2, CONFIG) as on_step:
        on_step(row(1))
        on_step(row(2, score=7.77))
    assert isinstance(console.file, StringIO)
    end = console.file.getvalue().rpartition("policy")[2]
    assert "2/2" in end
    assert "4.13" in end


def test_a_process_that_shows_nothing_shows_nothing() -> None:
    console = Console(file=StringIO(), width=100)
    with watch(console, 2, CONFIG, visible=False) as on_step:
        on_step(row(1))
    assert isinstance(console.file, StringIO)
    assert console.file.getvalue() == ""


def test_hours_are_shown_where_there_are_any() -> None:
    assert [clock(seconds) for seconds in (0, 59.6, 3599, 3661)] == ["0:00", "1:00", "59:59", "1:01:01"]
