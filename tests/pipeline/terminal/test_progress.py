"""Progress in a log file: a line for each phase of a trainer, and what is left of it."""

import io

from rich.console import Console

from pipeline.terminal.progress import steps_shown


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
