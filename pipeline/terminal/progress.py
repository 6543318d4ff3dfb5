"""Progress with an estimate of the remaining time: a bar on a terminal, a line every few seconds in a log file."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Advance = Callable[..., None]
_LOG_EVERY = 15.0
_LEAST_SECONDS, _LEAST_SHARE = 5.0, 0.05  # of work after the first report, to estimate from
_SHOWN = ("loss", "reward", "score", "kl", "finish_rate")


@contextmanager
def progress(console: Console, title: str, total: int | None, done: int = 0) -> Iterator[Advance]:
    """Yield `advance(steps, note="", total=None)`; if the total is not known yet, pass it with the first step.

    `done`: the number of steps that an earlier, interrupted attempt made.
    """
    if console.is_terminal:
        columns = (
            TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
        )  # fmt: skip
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(title, total=total, completed=done, note="")
            yield lambda steps=1, note="", total=total: bar.update(task, advance=steps, note=note, total=total)
    else:
        console.print(f"{title}: started")
        yield _logged(console, title, total, done)


@contextmanager
def steps_shown(
    console: Console, title: str, total: int | None = None
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Progress of a trainer that reports rows with `step` (and `steps`, if `total` is not known).

    Rows with a `phase` begin a progress of that name when it is another one than before.
    """
    with ExitStack() as open_now:
        current = _Steps(open_now.enter_context(progress(console, title, total)), title, total)

        def on_step(row: Mapping[str, Any]) -> None:
            nonlocal current
            if (phase := str(row.get("phase", title))) != current.title:
                open_now.close()
                current = _Steps(open_now.enter_context(progress(console, phase, row["steps"])), phase, row["steps"])
            current.to(row)

        yield on_step


@dataclass
class _Steps:
    """A progress that is told at which step a trainer is."""

    advance: Advance
    title: str
    total: int | None
    at: int = 0

    def to(self, row: Mapping[str, Any]) -> None:
        shown = [f"{name} {row[name]:.2f}" for name in _SHOWN if row.get(name) is not None]
        self.advance(row["step"] - self.at, note=" ".join(shown), total=self.total or row["steps"])
        self.at = row["step"]


def _logged(console: Console, title: str, expected: int | None, done: int) -> Advance:
    start = last = first = time.monotonic()
    made = at_first = 0

    def advance(steps: int = 1, note: str = "", total: int | None = expected) -> None:
        nonlocal last, made, first, at_first
        if not steps:
            return
        made += steps
        now = time.monotonic()
        if made == steps:
            first, at_first = now, made
        finished = total is not None and done + made >= total
        if finished or now - last >= _LOG_EVERY or made == steps:
            last = now
            left = None if total is None else _seconds_left(now - first, made - at_first, total - done - made)
            of_all = "" if total is None else f"/{total}"
            said = [f"{title}: {done + made}{of_all}", f"{_minutes(now - start)} so far"]
            said += [] if left is None else [f"{_minutes(left)} left"]
            console.print(", ".join([*said, note] if note else said), soft_wrap=True)

    return advance


def _seconds_left(seconds: float, made: int, missing: int) -> float | None:
    """Estimate from `made` steps in `seconds`, both since the first report: until then, models load and warm up.

    None while that is too little to say anything.
    """
    if missing <= 0:
        return 0.0
    if not made or (seconds < _LEAST_SECONDS and made < _LEAST_SHARE * (made + missing)):
        return None
    return seconds / made * missing


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
