"""`rlhf labels ...`: parsing, and telling what was done. Copies, checks and exports are the label store's."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from foundation.errors import UserError
from labeling_ui.exchange.exports.registry import KINDS
from pipeline.cli.options import DEFAULT_RUN, ConfigOption, RunOption, SetOption, open_run, open_store

labels = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The judgements: copies, checks and exports.")


@labels.command("backup")
def backup(
    file: Annotated[Path, typer.Argument(help="Where the copy goes; a new file.")],
    run: RunOption = DEFAULT_RUN,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Copy the label store, also while people label."""

    with open_store(run, config, set_) as (store, _):
        store.backup(file)
    typer.echo(f"labels: copied to {file}")


@labels.command("verify")
def verify(run: RunOption = DEFAULT_RUN, config: ConfigOption = None, set_: SetOption = None) -> None:
    """Check every row of the label store; lists every problem, and ends with status 2 if there is one."""

    with open_store(run, config, set_) as (store, _):
        problems = store.verify()
        judgements, name = sum(1 for _ in store.judgements()) if not problems else 0, store.database.name
    for problem in problems:
        typer.echo(f"  {problem}")
    if problems:
        raise UserError(f"the label store {name} has {len(problems)} problems, listed above. Go back to a backup.")
    typer.echo(f"labels: {name} is whole, with {judgements} judgements.")


@labels.command("export")
def export(
    file: Annotated[
        Path | None, typer.Argument(help="File to write: JSON Lines, or a table if it ends in .csv.")
    ] = None,
    kind: Annotated[str, typer.Option(help=f"What to write: one of {', '.join(KINDS)}.")] = "preferences",
    campaign: Annotated[str | None, typer.Option(help="One campaign only.")] = None,
    push_to_hub: Annotated[
        str | None, typer.Option("--push-to-hub", metavar="NAME", help="Publish as this dataset instead.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Let everybody see the published dataset.")] = False,
    run: RunOption = DEFAULT_RUN,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Write judgements as a dataset that TRL reads as it is, to a file (a .csv is a table) or to the hub."""
    from labeling_ui.exchange.exports import files, hub, registry
    from labeling_ui.people.audit import COMMAND_LINE, note

    if (file is None) == (push_to_hub is None):
        raise UserError(
            f"say where to: a file, as in `rlhf labels export FILE --run {shlex.quote(str(run))}`, or --push-to-hub "
            "NAME."
        )
    with open_store(run, config, set_) as (store, _):
        rows = registry.rows(store, kind, campaign)
        if next(iter(rows), None) is None:
            raise UserError(
                f"the judgements give no {kind}: nothing was written. Choose another --kind, or get more labels."
            )
        note(store.database, "exported", COMMAND_LINE, detail=f"{kind}, {campaign or 'all campaigns'}")
        if file is not None:
            number = files.write(file, rows)
        else:
            number = hub.push_to_hub(list(rows), push_to_hub or "", private=not public)
    typer.echo(f"labels: {number} rows of {kind} to {file or push_to_hub}")


def test_notices(run: Path, config: Path | None, set_: Sequence[str]) -> None:
    """`rlhf label --test-notice`: try every address of `label.notices`; `UserError` if one did not take it."""
    from labeling_ui.notices.sending import send_test

    with open_run(run, config, set_, alone=False, new=True) as (_, settings, _):
        notices = settings.label.notices
        problems = send_test(notices)
    for named, problem in zip(notices.named, problems, strict=True):
        typer.echo(f"label: {named} {f'failed: {problem}' if problem else 'took the test notice'}")
    if any(problems):
        raise UserError("not every address of label.notices took the test notice. See docs/labeling.md, Notices.")
