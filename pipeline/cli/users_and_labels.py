"""`rlhf users ...` and `rlhf labels ...`: parsing, and telling what was done.

Accounts are made and ended in `labeling_ui.accounts`; copies, checks and exports of judgements are the label store's.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from foundation.errors import UserError
from pipeline.cli.options import DEFAULT_RUN, ConfigOption, RunOption, SetOption, open_run

if TYPE_CHECKING:
    from labeling_ui.store.store import Store

KINDS = "preferences, rankings, ties, orders, unpaired, prompts or ratings"
users = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The people who label, and what each may do.")
labels = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The judgements: copies, checks and exports.")

RoleOption = Annotated[str, typer.Option("--role", help="annotator, reviewer or admin.")]


@users.command("add")
def add(
    name: Annotated[str, typer.Argument(help="The name to sign in with.")],
    role: RoleOption = "annotator",
    email: Annotated[str | None, typer.Option(help="E-mail address, if it is to be kept.")] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input instead of asking.")
    ] = False,
    run: RunOption = DEFAULT_RUN,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Make an account; the password is asked for."""
    from labeling_ui.people.accounts import Accounts
    from labeling_ui.data_model import ROLES

    if role not in ROLES:
        raise UserError(f'there is no role "{role}": choose one of {", ".join(ROLES)}.')
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    with _store(run, config, set_, new=True) as (store, _):
        person = Accounts(store.database).add(name, role, password, email)
    typer.echo(f"users: {person.name} can sign in as {role}.")


@users.command("invite")
def invite(
    role: RoleOption = "annotator",
    name: Annotated[str | None, typer.Option(help="For this person; else whoever has the link chooses a name.")] = None,
    hours: Annotated[float, typer.Option(help="How long the link can be used.")] = 72,
    url: Annotated[str | None, typer.Option(help="Where people reach the app, https://label.example.org say.")] = None,
    run: RunOption = DEFAULT_RUN,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Print a link that lets one person in, once."""
    from labeling_ui.people.accounts import Accounts
    from labeling_ui.data_model import ROLES

    if role not in ROLES:
        raise UserError(f'there is no role "{role}": choose one of {", ".join(ROLES)}.')
    with _store(run, config, set_, new=True) as (store, served_at):
        token = Accounts(store.database).invite(role, name, hours)
    base = url or served_at
    typer.echo(f"{base.rstrip('/')}/invitation/{token}")
    typer.echo(f"Whoever opens it first, within {hours:g} hours, is in as {role}. It is not shown again.", err=True)


@users.command("list")
def list_(run: RunOption = DEFAULT_RUN, config: ConfigOption = None, set_: SetOption = None) -> None:
    """Show everybody, and what each may do."""
    from labeling_ui.people.accounts import Accounts

    with _store(run, config, set_) as (store, _):
        people = Accounts(store.database).list()
    table = Table("name", "role", "e-mail", "signs in", "since")
    for person in people:
        by = "with a password" if person.has_password else "by invitation"
        how = "simulated" if person.simulated else "disabled" if person.disabled else by
        table.add_row(*map(Text, (person.name, person.role, person.email or "", how, person.created_at[:10])))
    Console().print(table)


@users.command("forget")
def forget(
    name: Annotated[str, typer.Argument(help="Name or e-mail address.")],
    judgements: Annotated[str, typer.Option(help="What becomes of what they said: keep (nameless) or delete.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether this is meant.")] = False,
    run: RunOption = DEFAULT_RUN,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Remove a person for good: name, e-mail address and password."""
    from labeling_ui.people.accounts import Accounts

    if judgements not in ("keep", "delete"):
        raise UserError(f'--judgements {judgements}: say "keep" (nameless) or "delete".')
    with _store(run, config, set_) as (store, _):
        if not yes:
            fate = "kept without a name" if judgements == "keep" else "deleted"
            if not typer.confirm(f'Forget "{name}"? Their judgements are {fate}. This cannot be undone.'):
                typer.echo("users: nothing was changed.")
                return
        number = Accounts(store.database).forget(name, "keep" if judgements == "keep" else "delete")
    typer.echo(f"users: forgotten; {number} judgements {'kept without a name' if judgements == 'keep' else 'deleted'}.")


@labels.command("backup")
def backup(
    file: Annotated[Path, typer.Argument(help="Where the copy goes; a new file.")],
    run: RunOption = DEFAULT_RUN,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Copy the label store, also while people label."""

    with _store(run, config, set_) as (store, _):
        store.backup(file)
    typer.echo(f"labels: copied to {file}")


@labels.command("verify")
def verify(run: RunOption = DEFAULT_RUN, config: ConfigOption = None, set_: SetOption = None) -> None:
    """Look whether the label store is whole; lists every problem, and ends with status 2 where there is one."""

    with _store(run, config, set_) as (store, _):
        problems = store.verify()
        judgements, name = sum(1 for _ in store.judgements()) if not problems else 0, store.database.name
    for problem in problems:
        typer.echo(f"  {problem}")
    if problems:
        raise UserError(f"the label store {name} has {len(problems)} problems, listed above. Go back to a backup.")
    typer.echo(f"labels: {name} is whole, with {judgements} judgements.")


@labels.command("export")
def export(
    file: Annotated[Path | None, typer.Argument(help="JSON Lines file to write.")] = None,
    kind: Annotated[str, typer.Option(help=f"What to write: {KINDS}.")] = "preferences",
    campaign: Annotated[str | None, typer.Option(help="One campaign only.")] = None,
    push_to_hub: Annotated[
        str | None, typer.Option("--push-to-hub", metavar="NAME", help="Publish as this dataset instead.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Let everybody see the published dataset.")] = False,
    run: RunOption = DEFAULT_RUN,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Write judgements as a dataset that TRL reads as it is, to a file or to the hub."""
    from foundation.files import write_jsonl
    from labeling_ui.exchange import exports

    if (file is None) == (push_to_hub is None):
        raise UserError("say where to: a file, as in `rlhf labels export FILE`, or --push-to-hub NAME.")
    with _store(run, config, set_) as (store, _):
        rows = exports.export(store, kind, campaign)
    if not rows:
        raise UserError(
            f"the judgements give no {kind}: nothing was written. Choose another --kind, or get more labels."
        )
    if file is not None:
        write_jsonl(file, rows)
    if push_to_hub is not None:
        exports.push_to_hub(rows, push_to_hub, private=not public)
    typer.echo(f"labels: {len(rows)} rows of {kind} to {file or push_to_hub}")


@contextmanager
def _store(
    run: Path, config: Path | None, set_: Sequence[str] | None, new: bool = False
) -> "Iterator[tuple[Store, str]]":
    """The run's label store, with `new` made where there is none, and where its app is served."""
    from pipeline.runs.label_store import label_store

    with open_run(run, config, set_, alone=False) as (opened, settings, _):
        host, port = settings.label.host, settings.label.port
        with label_store(opened, settings, must_exist=not new) as store:
            yield store, f"http://{f'[{host}]' if ':' in host else host}:{port}"
