"""The policy stage while it runs: figures with their curves, alarms, speed and memory, redrawn after each step.

Without a terminal, it prints a line every few seconds, and one for each alarm that goes on or off. This module only
displays: the policy stage computes the alarms in the log itself, from the same rows.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from pipeline.terminal.progress import progress
from pipeline.terminal.sparkline import binned, sparkline
from policy.alarms import Alarm, AlarmConfig, Alarms, steps_of

Row = Mapping[str, Any]
OnStep = Callable[[Row], None]
_TREND = 40
_LEAST_TREND = 10


class _Figure(NamedTuple):
    """How a column of the log is displayed."""

    name: str
    label: str
    digits: int = 2


# In order of interest; the parts of the score, whatever their names, follow the score.
_FIGURES = (
    _Figure("score", "score"),
    _Figure("reward", "reward"),
    _Figure("score_std", "score, uncertainty"),
    _Figure("score_spread", "score, spread in a group"),
    _Figure("kl", "KL, nats per response"),
    _Figure("length", "length, tokens", 1),
    _Figure("finish_rate", "finished, share"),
    _Figure("repetition", "repeated 4-grams, share"),
    _Figure("entropy", "entropy, nats per token"),
    _Figure("accuracy", "preferred gained more, share"),
    _Figure("margin", "margin"),
    _Figure("clip_fraction", "clipped ratios, share", 3),
    _Figure("explained_variance", "value, explained variance"),
    _Figure("kl_coefficient", "KL coefficient", 4),
    _Figure("grad_norm", "gradient norm"),
)
_NOTE = ("score", "reward", "kl", "length", "finish_rate")


class Board:
    """The display of the rows so far."""

    def __init__(self, total: int, config: AlarmConfig) -> None:
        self._config = config
        self._total = total
        self._alarms = Alarms(config)
        self._rows: list[Row] = []
        self.on: dict[str, Alarm] = {}
        self._since: dict[str, int] = {}
        self._past: list[tuple[str, int, int]] = []
        self._bar = Progress(
            SpinnerColumn(), TextColumn("policy"), BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("steps,"),
            TimeElapsedColumn(), TextColumn("{task.fields[left]}"),
        )  # fmt: skip
        self._task = self._bar.add_task("policy", total=total, left="")

    def after(self, row: Row) -> tuple[list[Alarm], list[str]]:
        """Add a row; return the alarms that went on with it, and the names of those that went off."""
        step = int(row["step"])
        self._rows.append(row)
        now = {alarm.name: alarm for alarm in self._alarms.after(row)}
        new = [alarm for name, alarm in now.items() if name not in self.on]
        over = [name for name in self.on if name not in now]
        self._past += [(name, self._since.pop(name), step - 1) for name in over]
        self._since |= {alarm.name: step for alarm in new}
        self.on = now
        left = self.seconds_left()
        self._bar.update(self._task, completed=step, left="" if left is None else f"about {clock(left)} left")
        return new, over

    def seconds_left(self) -> float | None:
        """Estimate from the duration of the last steps; None before the second, for the first also warms up."""
        rows = self._recent()[-(len(self._rows) - 1) :] if len(self._rows) > 1 else []
        recent = [spent for row in rows if (spent := sum(_phases(row).values()))]
        return sum(recent) / len(recent) * (self._total - int(self._rows[-1]["step"])) if recent else None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The bar; below it the figures, speed and memory, and the alarms."""
        parts: list[Any] = [self._bar]
        if self._rows:
            parts += [self._table(options.max_width, console.encoding.startswith("utf")), *self._machine()]
            parts += [*self._alarm_lines()]
        yield Group(*parts)

    def _recent(self) -> list[Row]:
        return self._rows[-steps_of(self._config.window, self._rows[-1]) :] if self._rows else []

    def _table(self, width: int, bars: bool) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        first, window = min(steps_of(self._config.first_steps, self._rows[-1]), len(self._rows)), len(self._recent())
        table.add_column("")
        table.add_column(f"first {first}", justify="right", style="dim")
        table.add_column(f"last {window}", justify="right", style="bold")
        figures = self._figures()
        room = min(_TREND, width - max(len(figure.label) for figure in figures) - 24)
        if bars and room >= _LEAST_TREND:
            table.add_column(f"steps 1 to {self._rows[-1]['step']}", style="cyan", no_wrap=True)
        for figure in figures:
            values = [_value(row, figure.name) for row in self._rows]
            cells = [_mean(values[:first], figure.digits), _mean(values[-window:], figure.digits)]
            if len(table.columns) > 3:
                cells.append(sparkline(binned(values, room)))
            table.add_row(Text(figure.label), *cells)
        return table

    def _figures(self) -> list[_Figure]:
        logged = {name for row in self._rows for name, value in row.items() if isinstance(value, int | float)}
        known = {figure.name for figure in _FIGURES}
        parts = sorted(name for name in logged if name.startswith("score_") and name not in known)
        shown = [figure for figure in _FIGURES if figure.name in logged]
        at = next((place + 1 for place, figure in enumerate(shown) if figure.name == "score"), 0)
        labelled = [_Figure(name, f"score: {printable(name.removeprefix('score_'))}") for name in parts]
        return [*shown[:at], *labelled, *shown[at:]]

    def _machine(self) -> Iterator[Text]:
        """Time per step and per phase, speed and memory."""
        rows = self._recent()
        spent = {name: sum(_phases(row).get(name, 0.0) for row in rows) / len(rows) for name in _phases(rows[-1])}
        total = sum(spent.values())
        if not total:
            return
        facts = [f"{total:.1f} s per step"]
        last = rows[-1]
        if "tokens_per_second" in last:
            facts.append(f"{_average(rows, 'tokens_per_second'):,.0f} tokens/s")
        if "peak_memory_gb" in last:
            facts.append(f"peak memory {last['peak_memory_gb']:.1f} GB")
        yield Text()
        yield Text(", ".join(facts), style="dim")
        yield Text(", ".join(f"{name} {each / total:.0%}" for name, each in spent.items()), style="dim")

    def _alarm_lines(self) -> Iterator[Text]:
        if self.on or self._past:
            yield Text()
        for name, alarm in self.on.items():
            yield Text(f"ALARM {name}, since step {self._since[name]}: {spoken(alarm)}", style="bold yellow")
        for name, first, last in self._past[-3:]:
            yield Text(f"alarm {name}, over: {_steps(first, last)}", style="dim")


@contextmanager
def watch(console: Console, total: int, config: AlarmConfig, visible: bool = True) -> Iterator[OnStep]:
    """Yield a function that takes the log's rows, one per step; those of an earlier attempt may come at once."""
    board = Board(total, config)
    if not visible:
        yield lambda row: None
    elif console.is_interactive:
        with Live(board, console=console, refresh_per_second=4) as live:

            def redraw(row: Row) -> None:
                board.after(row)
                live.refresh()

            yield redraw
    else:
        with progress(console, "policy", total) as advance:

            def write(row: Row) -> None:
                new, over = board.after(row)
                shown = [f"{name} {row[name]:z.2f}" for name in _NOTE if row.get(name) is not None]
                if row.get("tokens_per_second"):
                    shown.append(f"{row['tokens_per_second']:,.0f} tokens/s")
                advance(1, note=", ".join(shown))
                for alarm in new:
                    line = f"policy: ALARM {alarm.name} at step {row['step']}: {spoken(alarm)}"
                    console.print(line, markup=False, soft_wrap=True)
                for name in over:
                    console.print(f"policy: the alarm {name} is over at step {row['step']}.", soft_wrap=True)

            yield write


def spoken(alarm: Alarm) -> str:
    """The text of an alarm, with its setting."""
    return f"{alarm.text} (policy.alarms.{alarm.name}={alarm.limit:g})"


def printable(name: str) -> str:
    """A name chosen by a user, without characters that would control the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours if there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _phases(row: Row) -> dict[str, float]:
    return {name.removeprefix("seconds_"): value for name, value in row.items() if name.startswith("seconds_")}


def _value(row: Row, name: str) -> float:
    value = row.get(name)
    return math.nan if value is None else float(value)


def _average(rows: Sequence[Row], name: str) -> float:
    values = [value for row in rows if math.isfinite(value := _value(row, name))]
    return sum(values) / len(values) if values else math.nan


def _mean(values: Sequence[float], digits: int) -> str:
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return "-"
    mean = sum(known) / len(known)
    return f"{mean:.0e}" if 0 < abs(mean) < 0.5 * 10**-digits else f"{mean:z,.{digits}f}"


def _steps(first: int, last: int) -> str:
    return f"step {first}" if first == last else f"steps {first} to {last}"
