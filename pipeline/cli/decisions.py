"""The commands that decide about a run's policies: parsing, and nothing else."""

import shlex
from typing import Annotated

import typer

from foundation.errors import UserError
from pipeline.cli.options import DEFAULT_RUN, ConfigOption, RunOption, SetOption, open_run

decisions = typer.Typer(rich_markup_mode=None)

ReasonOption = Annotated[str | None, typer.Option(help="Why, in a sentence; kept with the decision.")]


@decisions.command()
def verdict(run: RunOption = DEFAULT_RUN, config: ConfigOption = None, set_: SetOption = None) -> None:
    """Let people compare the policy with the champion, tell how that stands, or decide."""
    with open_run(run, config, set_, ends="verdict") as opened:
        from pipeline import stages

        stages.verdict(*opened)


@decisions.command()
def promote(
    run: RunOption = DEFAULT_RUN,
    config: ConfigOption = None,
    set_: SetOption = None,
    force: Annotated[bool, typer.Option("--force", help="Promote whatever was measured; recorded as by hand.")] = False,
    reason: ReasonOption = None,
) -> None:
    """Make the policy the champion if its verdict and its limits allow it, or by hand."""
    if force != bool(reason and reason.strip()):
        raise UserError(
            "a promotion by hand needs a reason, and no other takes one: "
            f'`rlhf promote --force --reason "..." --run {shlex.quote(str(run))}`'
        )
    with open_run(run, config, set_, ends="promote") as opened:
        from pipeline import promoting

        if force and reason:
            promoting.promote_by_hand(*opened, reason.strip())
        else:
            promoting.promote(*opened)


@decisions.command()
def rollback(
    run: RunOption = DEFAULT_RUN,
    config: ConfigOption = None,
    set_: SetOption = None,
    to: Annotated[str | None, typer.Option(help="base, or a round that was champion, as in round-000.")] = None,
    reason: ReasonOption = None,
) -> None:
    """Make an earlier champion the champion again."""
    if not reason or not reason.strip():
        raise UserError(
            f'say why the champion is taken back: `rlhf rollback --reason "..." --run {shlex.quote(str(run))}`'
        )
    with open_run(run, config, set_, ends="rollback") as opened:
        from pipeline import promoting

        promoting.roll_back(*opened, to, reason.strip())


@decisions.command()
def samples(
    run: RunOption = DEFAULT_RUN,
    config: ConfigOption = None,
    set_: SetOption = None,
    step: Annotated[int | None, typer.Option(min=0, help="Those of one checkpoint only.")] = None,
) -> None:
    """Show what the policy wrote at each checkpoint."""
    with open_run(run, config, set_, alone=False) as (opened, _, console):
        from pipeline.terminal.samples import sample_lines

        for line in sample_lines(opened.folder, step):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
