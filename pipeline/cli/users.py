"""`rlhf users ...`: parsing, and telling what was done. Accounts are made and ended in `labeling_ui.people`."""

import sys
from textwrap import shorten
from typing import Annotated
from urllib.parse import urlsplit

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
    from labeling_ui.web.proxy.addresses import is_loopback

    if role not in ROLES:
        raise UserError(f'there is no role "{role}": choose one of {", ".join(ROLES)}.')
    with open_store(run, config, set_, new=True) as (store, served_at):
        token = Accounts(store.database).invite(role, name, hours)
    base = (url or served_at).rstrip("/")
    typer.echo(f"{base}/invitation/{token}")
    typer.echo(f"Whoever opens it first, within {hours:g} hours, is in as {role}. It is not shown again.", err=True)
    if url is None:
        only = ", which only this machine reaches," if is_loopback(urlsplit(base).hostname or "") else ""
        typer.echo(f"Replace {base}{only} if people reach the app by another address; --url says which.", err=True)


@users.command("qualify")
def qualify(
    name: Annotated[str, typer.Argument(help="Name or e-mail address.")],
    campaign: Annotated[str, typer.Option(help="The campaign with the qualification round.")] = "main",
    again: Annotated[bool, typer.Option("--again", help="Give them all attempts once more.")] = False,
    passed: Annotated[bool, typer.Option("--passed", help="Take them as qualified, whatever they answered.")] = False,
    run: RunOption = DEFAULT_RUN,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Give a person the attempts of a qualification round again, or let them pass."""
    from labeling_ui.store.campaign_rules.rules import CampaignRules

    if again == passed:
        raise UserError("say --again (all attempts once more) or --passed (take them as qualified), and not both.")
    with open_store(run, config, set_) as (store, _):
        rules = CampaignRules(store.database)
        if again:
            rules.reopen(campaign, name)
        else:
            rules.let_pass(campaign, name)
    done = "has all attempts again" if again else "is taken as qualified"
    typer.echo(f'users: {name} {done} in the campaign "{campaign}".')


@users.command("assign")
def assign(
    names: Annotated[list[str] | None, typer.Argument(help="Names or e-mail addresses.")] = None,
    campaign: Annotated[str, typer.Option(help="The campaign that they may work on.")] = "main",
    remove: Annotated[bool, typer.Option("--remove", help="Take these people off the campaign.")] = False,
    everybody: Annotated[bool, typer.Option("--everybody", help="Let everybody work on the campaign.")] = False,
    run: RunOption = DEFAULT_RUN,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Say who may work on a campaign; without anybody assigned, it is for everybody."""
    from labeling_ui.store.campaign_rules.rules import CampaignRules

    if bool(names) == everybody or (everybody and remove):
        raise UserError("name the people to assign, or to take off with --remove; or say --everybody alone.")
    with open_store(run, config, set_) as (store, _):
        rules = CampaignRules(store.database)
        if everybody:
            rules.open_to_everybody(campaign)
        elif remove:
            rules.take_off(campaign, names or [])
        else:
            rules.assign(campaign, names or [])
        allowed = rules.people().get(campaign)
    typer.echo(f'users: the campaign "{campaign}" is for {", ".join(allowed) if allowed else "everybody"}.')


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


@users.command("role")
def role(
    name: Annotated[str, typer.Argument(help="Whose role.")],
    role: Annotated[str, typer.Argument(help="annotator, reviewer or admin.")],
    run: RunOption = DEFAULT_RUN,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Change what a person may do; they sign in again."""
    from labeling_ui.people.account_rows import valid_role
    from labeling_ui.people.accounts import Accounts

    with open_store(run, config, set_) as (store, _):
        Accounts(store.database).set_role(name, valid_role(role))
    typer.echo(f"users: {name} is {role} from now on.")


@users.command("log")
def log(
    number: Annotated[int, typer.Option("--last", min=1, max=10_000, help="How many events.")] = 50,
    run: RunOption = DEFAULT_RUN,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Show the latest security events: who did what, when and from where."""
    from labeling_ui.people.audit import read_page

    with open_store(run, config, set_) as (store, _):
        entries, _following = read_page(store.database, count=number)
    table = Table("time (UTC)", "event", "person", "account", "details", "from")
    for one in reversed(entries):
        said = (one.created_at[:19], one.event.replace("_", " "), one.person, one.subject, one.detail, one.address)
        table.add_row(*map(Text, said))
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
