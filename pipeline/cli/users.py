"""`rlhf users ...`: parsing, and telling what was done. Accounts are made and ended in `labeling_ui.people`."""

import sys
from textwrap import shorten
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from foundation.errors import UserError
from pipeline.cli.options import DEFAULT_RUN, ConfigOption, RunOption, SetOption, open_store

users = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The people who label, and what each may do.")

_SHOWN = 20  # texts that may name a person, before they are forgotten

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
    from labeling_ui.data_model import ROLES
    from labeling_ui.people.accounts import Accounts

    if role not in ROLES:
        raise UserError(f'there is no role "{role}": choose one of {", ".join(ROLES)}.')
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    with open_store(run, config, set_, new=True) as (store, _):
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
    from labeling_ui.data_model import ROLES
    from labeling_ui.people.accounts import Accounts

    if role not in ROLES:
        raise UserError(f'there is no role "{role}": choose one of {", ".join(ROLES)}.')
    with open_store(run, config, set_, new=True) as (store, served_at):
        token = Accounts(store.database).invite(role, name, hours)
    base = url or served_at
    typer.echo(f"{base.rstrip('/')}/invitation/{token}")
    typer.echo(f"Whoever opens it first, within {hours:g} hours, is in as {role}. It is not shown again.", err=True)


@users.command("list")
def list_(run: RunOption = DEFAULT_RUN, config: ConfigOption = None, set_: SetOption = None) -> None:
    """Show everybody, and what each may do."""
    from labeling_ui.people.accounts import Accounts

    with open_store(run, config, set_) as (store, _):
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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    run: RunOption = DEFAULT_RUN,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Remove a person for good: name, e-mail address and password. What anybody wrote is marked, not edited."""
    from labeling_ui.people import forgetting

    if judgements not in ("keep", "delete"):
        raise UserError(f'--judgements {judgements}: say "keep" (nameless) or "delete".')
    kept: forgetting.Fate = "keep" if judgements == "keep" else "delete"
    fate = "kept without a name" if kept == "keep" else "deleted"
    with open_store(run, config, set_) as (store, _):
        changes = forgetting.preview(store.database, name, kept)
        said = (
            f'"{changes.name}": the account and its links go, {changes.judgements} judgements are {fate}, and '
            f"{len(changes.texts)} texts that may name them are marked for a reviewer, unedited."
        )
        typer.echo(f"users: {said}")
        for text in changes.texts[:_SHOWN]:
            plain = "".join(letter if letter.isprintable() else " " for letter in text.text)
            typer.echo(f"  {text.kind} {text.id}: {shorten(plain, 100, placeholder=' ...')}")
        if len(changes.texts) > _SHOWN:
            typer.echo(f"  and {len(changes.texts) - _SHOWN} more")
        if dry_run or not (yes or typer.confirm(f'Forget "{changes.name}"? This cannot be undone.')):
            typer.echo("users: nothing was changed.")
            return
        changes = forgetting.forget(store.database, name, kept)
    typer.echo(f"users: forgotten; {changes.judgements} judgements {fate}, {len(changes.texts)} texts marked.")
