"""The commands that look at a run or a machine and change nothing: parsing, and nothing else."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from foundation.errors import UserError
from pipeline.cli.options import DEFAULT_RUN, ConfigOption, RunOption, SetOption, open_run

inspection = typer.Typer(rich_markup_mode=None)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@inspection.command()
def status(
    run: RunOption = DEFAULT_RUN, config: ConfigOption = None, set_: SetOption = None, json: JsonOption = False
) -> None:
    """Tell where the run stands, what it waits for, who has to do what, and the next command."""
    with open_run(run, config, set_, alone=False) as (opened, settings, console):
        from pipeline.inspection.facts import facts_of
        from pipeline.inspection.status import show

        show(facts_of(opened, settings), console, as_json=json)


@inspection.command()
def lineage(
    adapter: Annotated[str, typer.Argument(help="A round, as in round-000, or an adapter's folder.")],
    run: Annotated[
        Path | None, typer.Option("--run", help="Folder of the run; by default, the one it lies in.")
    ] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Trace an adapter to its prompts, labels, reward model, settings, versions and verdict."""
    from pipeline.inspection.lineage import carried, run_around, show, trace

    around = run or run_around(Path(adapter))
    if around is None and (found := carried(Path(adapter))):
        show(found, Console(), as_json=json)
        return
    with open_run(around or DEFAULT_RUN, config, set_, alone=False) as (opened, settings, console):
        show(trace(opened, settings, adapter), console, as_json=json)


@inspection.command()
def plan(
    run: RunOption = DEFAULT_RUN,
    config: ConfigOption = None,
    set_: SetOption = None,
    accuracy: Annotated[
        float | None, typer.Option(help="A share of pairs, as in 0.75; by default the next three round ones.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Tell what further labels would buy: accuracy of the reward model, then judgements for a verdict."""
    with open_run(run, config, set_, alone=False) as (opened, settings, console):
        from pipeline.inspection.plan import plan, show

        show(plan(opened, settings, accuracy), console, as_json=json)


@inspection.command()
def doctor(
    model: Annotated[
        str | None, typer.Option(help="Try this model as every stage would: a folder, a hub id or demo.")
    ] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    json: JsonOption = False,
    fast: Annotated[bool, typer.Option("--fast", help="Only what can be told without loading torch.")] = False,
) -> None:
    """Tell what this machine offers, what will be chosen, and with --model whether every stage can run on it."""
    from pipeline.config.config import load_config

    settings = load_config(config, set_ or ())
    if fast and model is not None:
        raise UserError("--fast loads no torch, and --model tries a model with it: leave one of them out.")
    from pipeline.doctor import diagnose, show

    if model is None:
        show(diagnose(settings, fast), Console(), as_json=json)
        return
    from pipeline.preflight.model_report import examine

    settings = settings.model_copy(update={"model": model})
    report = examine(settings)
    show(diagnose(settings), Console(), as_json=json, report=report)
    report.refuse()
