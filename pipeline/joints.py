"""What the stages share: where prompts come from, what was made before, how progress is shown.

The stages themselves are in `stages.py`, which these keep short.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from accelerate import Accelerator, PartialState
from rich.console import Console

from backbone.adapters import SharedBase
from foundation.errors import UserError
from foundation.files import Row, read_jsonl
from pipeline.collection import candidates as collecting
from pipeline.config.config import Config
from pipeline.live_generation import LivePolicy
from pipeline.profiling import profiled
from pipeline.runs.folder import Run
from pipeline.runs.label_store import has_labels, label_store
from pipeline.scorers import needs_learned
from pipeline.simulation.annotators import default_annotators, hidden_preference, prompt_text
from pipeline.terminal.progress import progress
from pipeline.terminal.training_board import watch
from policy.config import OFFLINE
from reward_model.rewards.registry import LEARNED

NO_LABELS = {"judgements": 0, "simulated_judgements": 0, "pairs": 0}
SHOWN = ("loss", "reward", "score", "kl", "finish_rate")


def prompt_source(run: Run, config: Config) -> str:
    """A prompts file, "everyday" or "labels": as configured, else as the run began, else by what there is."""
    if config.collect.prompts != "auto":
        return config.collect.prompts
    made = run.record("prompts") or (run.at(run.round - 1).record("prompts") if run.round else None)
    if made:
        return str(made.basis.config["source"])
    return "labels" if imported(run, config) else "everyday"


def imported(run: Run, config: Config) -> bool:
    """Whether the judgements came from elsewhere: there are some, and nothing was collected."""
    return judged(run, config) and not run.at(0).record("collect")


def judged(run: Run, config: Config) -> bool:
    """Whether there are judgements."""
    if not has_labels(run, config):
        return False
    with label_store(run, config) as store:
        return store.counts().judgements > 0


def asks_people(run: Run, config: Config) -> bool:
    """Whether the loop goes by way of judgements. Without a learned reward or DPO only those that are there count: of
    them comes another judge for the evaluation.
    """
    needed = needs_learned(config.rewards) or config.policy.algorithm in OFFLINE
    return needed or judged(run, config)


def check_overlap(config: Config) -> None:
    """Refuse more judges a task than there are simulated annotators."""
    there = len(default_annotators())
    if config.label.overlap > there:
        raise UserError(
            f"label.overlap is {config.label.overlap}, but there are {there} simulated annotators, and each judges a "
            f"task once: set it to {there} or less."
        )


def waiting(run: Run, config: Config) -> int:
    """How many judgements the run's tasks still lack."""
    with label_store(run, config) as store:
        return store.waiting()


def asked_of(run: Run, config: Config, base: SharedBase, console: Console, split: str) -> list[Row]:
    """The prompts of one split that fit; says how many do not."""
    rows = [row for row in rows_of(run.folder / "prompts.jsonl") if row["split"] == split]
    fit = collecting.short_enough(rows, base, config.collect, imported=prompt_source(run, config) == "labels")
    if len(fit) < len(rows):
        console.print(
            f"{len(rows) - len(fit)} of {len(rows)} {split} prompts are longer than collect.max_prompt_tokens="
            f"{config.collect.max_prompt_tokens} (or than the context) and are left out."
        )
    if not fit:
        raise UserError(f"no {split} prompt is short enough: raise collect.max_prompt_tokens, or shorten the prompts.")
    return fit


def artifact(run: Run, name: str) -> Path:
    """Where an earlier stage wrote `name`; `UserError` says which stage to run first where it has not."""
    path = run.folder / name
    if not path.exists():
        stage = {"evaluation.json": "evaluate"}.get(name, name)
        raise UserError(f"{path} is missing: run `rlhf {stage} --run {run.path}` first.")
    return path


def how_tuned(config: Config) -> str:
    """How the policy came about, for its card: "tuned ..."."""
    if config.policy.algorithm in OFFLINE:
        return "by direct preference optimisation on pairwise judgements"
    learned = "a reward model of pairwise judgements" if needs_learned(config.rewards) else ""
    programmed = ", ".join(spec.title for spec in config.rewards if spec.name != LEARNED)
    towards = [learned, f"programmed rewards ({programmed})" if programmed else ""]
    return f"by policy gradients towards {' and '.join(each for each in towards if each)}"


def by_hidden_preference(rows: Sequence[Row], answers: Sequence[Row]) -> list[float]:
    """The judge of simulated labels: what their annotators were made to prefer."""
    return [
        hidden_preference(prompt_text(row["prompt"]), answer["response"])
        for row, answer in zip(rows, answers, strict=True)
    ]


def with_model(config: Config, settings: Any) -> dict[str, Any]:
    """What a stage's outcome depends on: its settings, the model and its number format."""
    return {"model": config.model, "dtype": config.dtype, **settings.model_dump(mode="json")}


def asking(config: Config, settings: Any) -> dict[str, Any]:
    """As `with_model`, for stages that answer prompts: which of them are too long is a setting as well."""
    return {**with_model(config, settings), "max_prompt_tokens": config.collect.max_prompt_tokens}


def base_of(config: Config, process: Accelerator | PartialState | None = None) -> SharedBase:
    """The base model of the run, on the device of the process where none is configured."""
    device = str(process.device) if process and config.device == "auto" else config.device
    return SharedBase.load(config.model, config.dtype, device)


@contextmanager
def live_policy(run: Run, config: Config) -> Iterator[LivePolicy | None]:
    """What answers the prompts that annotators type, where they may: the base, or the newest round's policy."""
    if not config.label.live:
        yield None
        return

    def newest() -> Path | None:
        made = [folder for folder in (run.at(number).folder / "policy" for number in run.rounds()) if folder.exists()]
        return made[-1] if made else None

    policy = LivePolicy(config.model, config.collect.sampling, newest, config.dtype, config.device)
    try:
        yield policy
    finally:
        policy.close()


def accelerator_of(config: Config) -> Accelerator:
    """Accelerate, with the tracker that was asked for."""
    tracker = None if config.policy.tracker == "none" else config.policy.tracker
    return Accelerator(cpu=config.device == "cpu", log_with=tracker)


def rows_of(path: Path) -> list[Row]:
    """All rows of a JSON Lines file."""
    return [row for _, row in read_jsonl(path)]


@contextmanager
def steps_shown(
    console: Console, title: str, total: int | None = None
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Progress of a trainer that reports rows with `step` (and `steps`, where `total` is not known)."""
    at = 0
    with progress(console, title, total) as advance:

        def on_step(row: Mapping[str, Any]) -> None:
            nonlocal at
            shown = [f"{name} {row[name]:.2f}" for name in SHOWN if row.get(name) is not None]
            advance(row["step"] - at, note=" ".join(shown), total=total or row["steps"])
            at = row["step"]

        yield on_step


@contextmanager
def policy_shown(
    run: Run, config: Config, console: Console, *, profile: bool = False, visible: bool = True
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """The policy stage while it runs; with `profile`, one step of it is recorded in the round's folder `profile`."""
    with ExitStack() as stack:
        told = [stack.enter_context(watch(console, config.policy.steps, config.policy.alarms, visible))]
        if profile and visible:
            told.append(stack.enter_context(profiled(run.folder / "profile", run.say)))

        def on_step(row: Mapping[str, Any]) -> None:
            for each in told:
                each(row)

        yield on_step


def last_figures(log: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The columns of a training log, averaged over the last tenth of its steps, and the `alarms` that were on there."""
    last = log[-max(1, len(log) // 10) :]
    numbers = [{name: value for name, value in row.items() if isinstance(value, int | float)} for row in last]
    shared = [name for name in numbers[0] if name != "step" and all(name in row for row in numbers)]
    figures: dict[str, Any] = {name: sum(row[name] for row in numbers) / len(numbers) for name in shared}
    return figures | {"alarms": sorted({name for row in last for name in row.get("alarms", ())})}
