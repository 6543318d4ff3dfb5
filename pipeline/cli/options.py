"""What commands share: the options of a run and its configuration, and opening them. Nothing heavy is imported."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from foundation import threads
from pipeline.cli.exit_status import complain
from pipeline.cli.known_runs import check_known
from pipeline.cli.launched_processes import launched

if TYPE_CHECKING:
    from labeling_ui.store.store import Store
    from pipeline.config.config import Config
    from pipeline.runs.folder import Run

RunOption = Annotated[Path, typer.Option("--run", help="Folder of the run.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="YAML file; without it, the configuration that the run last used.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="One field, as in policy.steps=200; repeatable."),
]
DEFAULT_RUN = Path("runs/default")


@contextmanager
def open_run(
    path: Path,
    config_file: Path | None,
    overrides: Sequence[str] | None,
    alone: bool = True,
    new: "Callable[[Config], bool] | bool" = False,
    ends: str | None = None,
) -> "Iterator[tuple[Run, Config, Console]]":
    """The run, its configuration, and a console; with `alone`, no other command works on the run meanwhile.

    There must be a run, unless `new` says (of the configuration) that this command may begin one. With `ends`, the
    stage of that name ends the command: its last line says what was written and what comes next.
    """
    from foundation import sizes
    from pipeline.cli.run_settings import settings_kept, told_for_run
    from pipeline.config.config import load_run_config
    from pipeline.runs.disk_space import disk_errors
    from pipeline.runs.folder import Run

    if alone and (asked := threads.number()) > (there := threads.cores()):
        complain(f"note: {asked} threads on {there} cores wait for one another: unset OMP_NUM_THREADS, or lower it.")
    console = Console()
    config = load_run_config(config_file, path / "config.yaml", overrides or ())
    if not (new(config) if callable(new) else new):
        check_known(path)
    is_main, barrier = processes(path, config)
    console.quiet = not is_main

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    run = Run(path, seed=config.seed, say=say, is_main=is_main, barrier=barrier)
    given = config_file, overrides or ()
    with (
        sizes.asking(config.sizes),
        run.lock() if alone and is_main else nullcontext(),
        disk_errors("the command", path),
        settings_kept(run, config, *given) if alone and is_main else nullcontext(),
        told_for_run(run, config, *given),
    ):
        yield run, config, console
        if ends and is_main:
            _tell_next(run, config, console, ends)


def remember_new(run: "Run", config_file: Path | None, overrides: Sequence[str] | None) -> None:
    """Record the configuration of a run that an import began: the stages that follow it must not fall back to defaults.

    The campaign is left out, for it is the file's: the next one may be of another kind.
    """
    from pipeline.config import sources
    from pipeline.config.config import load_run_config

    if not run.config_file.exists():
        others = [each for each in overrides or () if not each.startswith("label.")]
        sources.save(load_run_config(config_file, run.config_file, others), run.config_file)


def _tell_next(run: "Run", config: "Config", console: Console, stage: str) -> None:
    from pipeline.inspection.facts import facts_of
    from pipeline.inspection.status import next_step

    made, step = run.record(stage), next_step(facts_of(run, config))
    written = f"{run.folder / made.output} is written" if made else step.state
    console.print(f"{stage}: {written}. Next: {step.next}", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def open_store(
    run: Path, config: Path | None, set_: Sequence[str] | None, new: bool = False
) -> "Iterator[tuple[Store, str]]":
    """The run's label store and the address at which its app is served; `new` makes a store if there is none."""
    from pipeline.runs.label_store import label_store

    with (
        open_run(run, config, set_, alone=False, new=new) as (opened, settings, _),
        label_store(opened, settings, must_exist=not new) as store,
    ):
        yield store, settings.label.served_at


def processes(run: Path, config: "Config") -> tuple[bool, Callable[[], None]]:
    """Whether this is the main one of a launcher's processes, and how to wait for the others."""
    from pipeline.config import sources

    others = launched()
    if others is None:
        if "MASTER_ADDR" in os.environ and os.environ.get("ACCELERATE_USE_CPU") == "True":
            complain(
                "note: without MPI, `accelerate launch --cpu` starts one process, however many were asked for; use "
                "`ACCELERATE_USE_CPU=true accelerate launch --multi_gpu`, or torchrun."
            )
        return True, lambda: None
    others.compare(sources.flat(config.model_dump(mode="json")))
    others.check_shared(run)
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    # Without a GPU, processes find one another only where accelerate is told that there is none.
    on_cpu = config.device == "cpu" or parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available()
    # One may have to wait for hours while another measures; where one ends, all do (`launched_processes.py`).
    state = PartialState(cpu=on_cpu, timeout=timedelta(days=7))
    return state.is_main_process, state.wait_for_everyone
