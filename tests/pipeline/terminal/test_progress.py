"""Progress in a log file: a line for each phase of a trainer, and what is left of it."""

import io

import pytest
from rich.console import Console

from pipeline.terminal.progress import progress, steps_shown


def test_a_phase_of_its_own_name_follows_the_steps() -> None:
    text = io.StringIO()
    with steps_shown(Console(file=text, width=80), "reward") as on_step:
        on_step({"step": 1, "steps": 2, "loss": 0.7})
        on_step({"step": 2, "steps": 2, "loss": 0.6})
        on_step({"phase": "measure", "step": 30, "steps": 60})
        on_step({"phase": "measure", "step": 60, "steps": 60})
    lines = text.getvalue().splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        "reward: started", "reward: 1/2", "reward: 2/2", "measure: started", "measure: 30/60", "measure: 60/60",
    ]  # fmt: skip
    assert lines[2].endswith("0:00 left, loss 0.60")


def test_two_phases_never_share_a_terminal() -> None:
    with steps_shown(Console(file=io.StringIO(), force_terminal=True), "reward", total=2) as on_step:
        on_step({"step": 2})
        on_step({"phase": "measure", "step": 1, "steps": 1})


def test_the_time_left_leaves_the_warm_up_out_and_waits_until_it_means_something(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("pipeline.terminal.progress.time.monotonic", lambda: now)
    text = io.StringIO()
    with progress(Console(file=text, width=80), "simulated", 1000) as advance:
        for now in (10.0, 25.0, 41.0):  # the first answer waits ten seconds for the models
            advance(1 if now == 10.0 else 150)
    assert text.getvalue().splitlines()[1:] == [
        "simulated: 1/1000, 0:10 so far",
        "simulated: 151/1000, 0:25 so far, 1:24 left",  # 0.1 s an answer, 849 of them
        "simulated: 301/1000, 0:41 so far, 1:12 left",
    ]


def test_a_progress_of_unknown_length_does_not_say_that_nothing_is_left() -> None:
    text = io.StringIO()
    with progress(Console(file=text, width=80), "read", None) as advance:
        advance(3)
    assert text.getvalue().splitlines()[1] == "read: 3, 0:00 so far"
