"""The admin page: how far the campaign is, how far its judgements can be trusted, and who the people are.

A Gradio app that refreshes itself. Its figures are HTML made by `figures.py`, with every text escaped. Gradio
does not keep private handlers private, so each handler asks for the caller's role, from the store and not from the
page: reviewers see figures, admins also people. Left out on purpose: sign-in (`sign_in_pages.py`), downloads
(`app.py`).
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import gradio as gr

from foundation.errors import UserError
from labeling_ui.data_model import ROLES, Role
from labeling_ui.exchange.exports.registry import KINDS
from labeling_ui.notices.keeping import latest
from labeling_ui.people.account_rows import Person
from labeling_ui.people.accounts import Accounts
from labeling_ui.people.audit import Origin
from labeling_ui.people.invitations import INVITATION_HOURS
from labeling_ui.store.store import Store
from labeling_ui.web.access_control import UNUSABLE, log
from labeling_ui.web.admin.figures_cache import OverviewCache
from labeling_ui.web.api import is_failure
from labeling_ui.web.templates import render

TITLE = "Labeling: quality and people"
REFRESH_SECONDS = 10
WAITING_SECONDS = 2
"""Between two looks for the first figures."""
SOON = 2.0
"""Seconds; figures that take longer say when they were worked out."""
ALL = "all campaigns"
NOT_ALLOWED = "Refused: your account may not do this."


class AdminActions:
    """What the page asks of the server; `caller` is an annotator's id, as the session has it."""

    def __init__(self, store: Store, accounts: Accounts) -> None:
        self._store = store
        self._accounts = accounts
        self._overview = OverviewCache(store)

    def authorise(self, caller: str | None, role: Role) -> Person:
        """The caller, if their account has the role now; `PermissionError` otherwise."""
        try:
            person = self._accounts.person(caller or "")
        except UserError:
            person = None
        if person is None or person.disabled or ROLES.index(person.role) < ROLES.index(role):
            log.warning("refused, needs the role %s: an event of /admin, person %a", role, caller)
            raise PermissionError(NOT_ALLOWED)
        return person

    def header(self, caller: str | None) -> str:
        """The page's head, with the caller's name."""
        return render("admin_header.html", person=self.authorise(caller, "reviewer"), exports=KINDS)

    def campaigns(self, caller: str | None) -> list[str]:
        """What can be looked at."""
        self.authorise(caller, "reviewer")
        return [ALL, *(campaign.name for campaign in self._store.campaigns())]

    def figures(self, caller: str | None, campaign: str) -> tuple[str, str]:
        """The quality page and the page of flagged responses."""
        self.authorise(caller, "reviewer")
        found = self._overview(None if campaign == ALL else campaign)
        if found is None:
            return _WAITING, _WAITING
        from labeling_ui.web.admin.figures import flagged_html, quality_html

        with self._store.database.read() as connection:
            told = latest(connection, None if campaign == ALL else campaign)
        at = found.at if found.seconds > SOON else ""
        return quality_html(found.overview, at, found.seconds, told), flagged_html(found.overview)

    def people(self, caller: str | None) -> Sequence[Person]:
        """Everybody who can, or could, sign in."""
        self.authorise(caller, "admin")
        return [person for person in self._accounts.list() if not person.simulated]

    def invite(self, caller: str | None, role: Role, name: str, address: str = "") -> str:
        """The token of a new invitation; `address`: from where it is asked for, here and below."""
        admin = self.authorise(caller, "admin")
        token = self._accounts.invite(role, name.strip() or None, by=Origin(admin.id, address))
        log.info("person %s made an invitation as %s", admin.id, role)
        return token

    def change(self, caller: str | None, name: str, change: str, address: str = "") -> str:
        """Give a person a role, disable them or let them in again; says what was done."""
        admin = self.authorise(caller, "admin")
        if name == admin.name:
            raise UserError("you cannot change your own account here: another admin can, or rlhf users.")
        if change in ROLES:
            self._accounts.set_role(name, change, Origin(admin.id, address))
        elif change in ("disable", "enable"):
            self._accounts.disable(name, change == "disable", Origin(admin.id, address))
        else:
            raise UserError(f'"{change}" is no change of an account.')
        log.info("person %s changed an account: %s", admin.id, change)
        return f"Done: {name} is now {_CHANGED.get(change, change)}."

    def forget(self, caller: str | None, name: str, judgements: Literal["keep", "delete"], address: str = "") -> str:
        """Remove a person; says what became of their judgements."""
        admin = self.authorise(caller, "admin")
        changed = self._accounts.forget(name, judgements, Origin(admin.id, address))
        log.info("person %s had a person forgotten, judgements: %s", admin.id, judgements)
        fate = "kept without their name" if judgements == "keep" else "deleted"
        return (
            f"Forgotten. {changed.judgements} judgements were {fate}, and {len(changed.texts)} texts that may name "
            "them are marked under Flagged and written. Backups made before still hold the name: delete them too."
        )


_WAITING = '<p class="none" role="status">Working out the figures. They come by themselves.</p>'
_CHANGES = [
    *((f"give the role {role}", role) for role in ROLES),
    ("disable, and sign out", "disable"),
    ("let in again", "enable"),
]
_CHANGED = {"disable": "disabled and signed out", "enable": "allowed to sign in"}
_FATES = [("keep, without their name", "keep"), ("delete", "delete")]
_INVITING = (
    "Whoever opens the link first is let in, so send it to one person. The name of somebody who is there already makes "
    "a new sign-in link for their account."
)
_FORGETTING = (
    "This cannot be undone. Name, e-mail address and sign-in are removed. Texts that may name the person are not "
    "edited, but marked under Flagged and written."
)


def build_admin_page(store: Store, accounts: Accounts, root_path: str = "") -> gr.Blocks:
    """The Gradio page; `root_path` begins its invitation links, and `request.username` is the caller's annotator id."""
    actions = AdminActions(store, accounts)

    def figures(campaign: str, request: gr.Request) -> Any:
        shown = _shown(lambda: actions.figures(request.username, campaign))
        return *shown, gr.Timer(WAITING_SECONDS if shown[0] == _WAITING else REFRESH_SECONDS)

    def load(request: gr.Request) -> Any:
        def page() -> tuple[Any, ...]:
            return actions.header(request.username), gr.update(choices=actions.campaigns(request.username))

        return _shown(page)

    def load_people(request: gr.Request) -> Any:
        try:
            found = actions.people(request.username)
        except PermissionError:  # a reviewer: the page stays without people
            return gr.update(visible=False), "", gr.update()
        names = [person.name for person in found]
        return gr.update(visible=True), render("people.html", people=found), gr.update(choices=names, value=None)

    def invite(role: Role, name: str | None, request: gr.Request) -> Any:
        def made() -> tuple[str, str]:
            token = actions.invite(request.username, role, name or "", _address(request))
            hours = f"{INVITATION_HOURS:.0f} hours"
            return f"{_origin(request)}{root_path}/invitation/{token}", _notice(
                f"Send this link; it works once, for {hours}."
            )

        return _told(made, "")

    def change(name: str | None, what: str, request: gr.Request) -> Any:
        return _told(lambda: (_notice(actions.change(request.username, name or "", what, _address(request))),))

    def forget(name: str, fate: Literal["keep", "delete"], request: gr.Request) -> Any:
        return _told(lambda: ("", _notice(actions.forget(request.username, name, fate, _address(request)))), name)

    blocks = gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True)
    with blocks:
        header = _html(elem_id="head")
        with gr.Tabs():
            with gr.Tab("Quality"):
                campaign = gr.Dropdown([ALL], value=ALL, label="Campaign", allow_custom_value=True, elem_id="campaign")
                quality = _html(_WAITING)
            with gr.Tab("Flagged and written"):
                flagged = _html()
            with gr.Tab("People", visible=False) as tab:
                people = _html()
                told = _html()
                with gr.Column(elem_classes="box"):
                    gr.HTML("<h2>Invite</h2>", apply_default_css=False)
                    with gr.Row():
                        role = gr.Dropdown(list(ROLES), value="annotator", label="Role")
                        new = gr.Textbox(label="Name", max_length=60, placeholder="left empty, they choose one")
                    gr.HTML(f'<p class="hint">{_INVITING}</p>', apply_default_css=False)
                    make = gr.Button("Make a one-time link", variant="primary")
                    link = gr.Textbox(label="One-time link", interactive=False, buttons=["copy"], elem_id="link")
                with gr.Column(elem_classes="box"):
                    gr.HTML("<h2>Change an account</h2>", apply_default_css=False)
                    with gr.Row():
                        who = gr.Dropdown([], label="Person", allow_custom_value=True)
                        what = gr.Dropdown(_CHANGES, value="disable", label="Change")
                    apply = gr.Button("Change")
                with gr.Column(elem_classes="box"):
                    gr.HTML("<h2>Forget a person</h2>", apply_default_css=False)
                    with gr.Row():
                        gone = gr.Textbox(label="Name or e-mail address, typed in full", max_length=254)
                        fate = gr.Radio(_FATES, value="keep", label="Their judgements")
                    gr.HTML(f'<p class="hint">{_FORGETTING}</p>', apply_default_css=False)
                    forget_button = gr.Button("Forget", variant="stop")

        timer = gr.Timer(REFRESH_SECONDS)
        shown = [quality, flagged, timer]
        _on(blocks.load, load, None, [header, campaign])
        _on(blocks.load, figures, campaign, shown)
        _on(campaign.change, figures, campaign, shown)
        _on(timer.tick, figures, campaign, shown)
        listed = [tab, people, who]
        _on(blocks.load, load_people, None, listed)
        for event, handler, inputs, outputs in (
            (make.click, invite, [role, new], [link, told]),
            (apply.click, change, [who, what], [told]),
            (forget_button.click, forget, [gone, fate], [gone, told]),
        ):
            _on(_on(event, handler, inputs, outputs).then, load_people, None, listed)
    return blocks


def _on(event: Callable[..., Any], handler: Callable[..., Any], inputs: Any, outputs: Any) -> Any:
    return event(
        handler,
        inputs=inputs,
        outputs=outputs,
        concurrency_limit=2,
        concurrency_id="admin",
        show_progress="hidden",
        api_visibility="private",
    )


def _html(first: str = "", **more: Any) -> gr.HTML:
    # ${value} inserts the text as it is; Handlebars' {{value}} would evaluate it once more.
    return gr.HTML(first, html_template="${value}", apply_default_css=False, **more)


def _shown(read: Callable[[], tuple[Any, Any]]) -> Any:
    """What was read; or, in the first place, why it could not be."""
    try:
        return read()
    except PermissionError as error:
        raise gr.Error(str(error)) from error
    except UserError as error:
        return _notice(_plain(error), bad=True), gr.update()


def _told(act: Callable[[], tuple[str, ...]], *otherwise: str) -> Any:
    """What an action says; or why it was not done, after what the other places then hold."""
    try:
        done = act()
        return done if len(done) > 1 else done[0]
    except PermissionError as error:
        raise gr.Error(str(error)) from error
    except UserError as error:
        notice = _notice(f"Not done: {_plain(error)}", bad=True)
        return (*otherwise, notice) if otherwise else notice


def _plain(error: UserError) -> str:
    """What is wrong; of a store that fails only that, for the rest is for the server's log and may name files."""
    if not is_failure(error):
        return str(error)
    log.error("the label store failed: %s", error)
    return UNUSABLE


def _notice(text: str, bad: bool = False) -> str:
    return render("notice.html", text=text, bad=bad)


def _address(request: gr.Request) -> str:
    return str(request.client.host) if request.client else "unknown"


def _origin(request: gr.Request) -> str:
    return f"{request.url.scheme}://{request.headers['host']}"
