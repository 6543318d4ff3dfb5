"""`rlhf serve` and `rlhf keys ...`: parsing, and telling what was done."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.cli.known_runs import with_run
from pipeline.cli.options import DEFAULT_RUN, ConfigOption, RunOption, SetOption, open_run, open_store

keys = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Keys with which programs ask `rlhf serve`.")
serving = typer.Typer(rich_markup_mode=None)


@serving.command()
def serve(
    run: RunOption = DEFAULT_RUN,
    config: ConfigOption = None,
    set_: SetOption = None,
    base: Annotated[
        str | None, typer.Option(help='Serve this model and the named adapters: "demo", a folder, or a hub id.')
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option("--adapter", metavar="NAME=FOLDER", help="An adapter, and what to call it; repeatable."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; sets serve.host.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; sets serve.port.")] = None,
) -> None:
    """Serve the base, the champion and every round's policy: an OpenAI-compatible endpoint."""
    given = {"model": base, "serve.host": host, "serve.port": port}
    overrides = [*(set_ or []), *(f"{field}={value}" for field, value in given.items() if value is not None)]
    with open_run(run, config, overrides, alone=False, new=base is not None) as opened:
        from pipeline.serving.server import serve as start

        start(*opened, named=base is not None or bool(adapter), adapters=adapter or ())


@keys.command("add")
def add(
    name: Annotated[str, typer.Argument(help="The person in whose name a program will ask.")],
    run: RunOption = DEFAULT_RUN,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Print a new key of a person; an account is made if there is none of that name."""
    from labeling_ui.people.api_keys import id_of, make_key

    with open_store(run, config, set_, new=True) as (store, _):
        key = make_key(store.database, name)
        id = id_of(store.database, key)
    typer.echo(key)
    typer.echo(
        f"Whoever has it asks in this person's name. It is not shown again. Its id is {id}: "
        + with_run(f"`rlhf keys revoke {id}` ends it.", run),
        err=True,
    )


@keys.command("list")
def list_(run: RunOption = DEFAULT_RUN, config: ConfigOption = None, set_: SetOption = None) -> None:
    """Show whose keys are in force."""
    from labeling_ui.people.api_keys import keys as known

    table = Table("id", "person", "since")
    with open_store(run, config, set_) as (store, _):
        for key in known(store.database):
            whose = f"{key.name} (disabled)" if key.disabled else key.name
            table.add_row(*map(Text, (key.id, whose, key.created_at[:10])))
    Console().print(table)


@keys.command("revoke")
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="Its id in `rlhf keys list`, or the key itself.")],
    run: RunOption = DEFAULT_RUN,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """End a key at once."""
    from labeling_ui.people.api_keys import id_of, revoke_key

    with open_store(run, config, set_) as (store, _):
        id = id_of(store.database, key) or key
        name = revoke_key(store.database, id)
    typer.echo(f"keys: {id} of {name} lets nobody in any more.")
