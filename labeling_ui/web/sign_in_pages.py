"""The pages that let people in: sign-in, one-time invitations, one's own password, sign-out.

Plain forms without any script. Checking a password is heavy work, so it has threads of its own, two at a time: a flood
of sign-ins makes sign-ins wait, and never labeling. Left out on purpose: accounts (`people/`), and who may
ask (`access_control.py`).
"""

import logging
from dataclasses import dataclass
from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from foundation.errors import UserError
from labeling_ui.data_model import Annotator, Role
from labeling_ui.people.account_rows import LONGEST_NAME
from labeling_ui.people.accounts import Accounts, WrongPassword
from labeling_ui.people.audit import Origin
from labeling_ui.people.lockout import LockedOut
from labeling_ui.people.passwords import LONGEST_PASSWORD, check_password, shortest
from labeling_ui.people.sessions import Sessions
from labeling_ui.web import access_control, translations
from labeling_ui.web.api import is_failure
from labeling_ui.web.proxy.root_path import root_of
from labeling_ui.web.templates import render

log = logging.getLogger(__name__)
FormText = Annotated[str, Form(max_length=LONGEST_PASSWORD)]
SignedIn = Annotated[Annotator, Depends(access_control.person)]


@dataclass(frozen=True, slots=True)
class Field:
    """One line of a form."""

    name: str
    label: str
    type: str = "password"
    autocomplete: str = "current-password"
    value: str = ""
    hint: str = ""
    required: bool = True
    longest: int = LONGEST_PASSWORD


class _Page:
    """The words of the visitor's language, and a form made of them."""

    def __init__(self, request: Request) -> None:
        self.language = translations.choose(
            request.cookies.get(translations.COOKIE), request.headers.get("accept-language")
        )
        self.words = translations.words(self.language)
        self.root = root_of(request)

    def __call__(
        self, kind: str, *fields: Field, text: str = "", problem: UserError | None = None, done: str = "",
        note: str = "", button: bool = True, back: str = "", page_of: str = "",
    ) -> HTMLResponse:  # fmt: skip
        body = render(
            "sign_in.html",
            language=self.language,
            title=self.words[f"{kind}.title"],
            text=text,
            problem=self._said(problem),
            done=done,
            fields=fields,
            button=self.words[f"{kind}.button"] if button else "",
            note=note,
            back=back,
            page_of=page_of,
            root=self.root,
        )
        headers = dict(access_control.PLAIN_PAGE)
        if isinstance(problem, LockedOut):
            headers["retry-after"] = str(problem.seconds)
        return HTMLResponse(body, _status(problem), headers)

    def _said(self, problem: UserError | None) -> str:
        if isinstance(problem, LockedOut):
            return self.words["sign_in.locked"].format(seconds=problem.seconds)
        if problem is not None and is_failure(problem):  # what it says is for the server's log: it may name files
            log.error("the label store failed: %s", problem)
            return access_control.UNUSABLE
        return self.words["sign_in.wrong"] if isinstance(problem, WrongPassword) else str(problem or "")

    def name(self, value: str = "", hint: str = "") -> Field:
        return Field("name", self.words["sign_in.name"], "text", "username", value, hint, longest=LONGEST_NAME)

    def new_password(self, name: str, role: Role, required: bool) -> Field:
        hint = self.words["password.hint" if required else "password.optional"].format(shortest=shortest(role))
        return Field(name, self.words["password.new"], autocomplete="new-password", hint=hint, required=required)


def _status(problem: UserError | None) -> int:
    if problem is None:
        return 200
    return 429 if isinstance(problem, LockedOut) else 503 if is_failure(problem) else 422


def build_router(accounts: Accounts, sessions: Sessions) -> APIRouter:
    """The routes over `accounts`; `sessions` signs the cookies."""
    router = APIRouter()
    heavy = CapacityLimiter(2)

    async def let_in(request: Request, annotator: Annotator) -> Response:
        response = RedirectResponse(f"{root_of(request)}/", 303)
        version = await to_thread.run_sync(accounts.session_version, annotator.id)
        sessions.start(request, response, annotator.id, version)
        sessions.remember_device(request, response, annotator.id)
        return response

    def sign_in_page(page: _Page, name: str = "", problem: UserError | None = None) -> Response:
        password = Field("password", page.words["sign_in.password"])
        text, note = page.words["sign_in.text"], page.words["sign_in.note"]
        return page("sign_in", page.name(name), password, text=text, note=note, problem=problem)

    @router.get("/sign-in", response_model=None)
    async def ask(request: Request) -> Response:
        if access_control.signed_in(request):
            return RedirectResponse(f"{root_of(request)}/", 303)
        return sign_in_page(_Page(request))

    def renewal_page(page: _Page, who: Annotator, problem: UserError) -> Response:
        """Another password before anything else: the old one was good enough for the role that the person had."""
        old = Field("password", page.words["account.old"])
        new = page.new_password("new", who.role, required=True)
        return page("renewal", page.name(who.name), old, new, text=page.words["renewal.text"], problem=problem)

    @router.post("/sign-in", response_model=None)
    async def sign_in(
        request: Request, name: FormText = "", password: FormText = "", new: FormText = ""
    ) -> Response:  # fmt: skip
        try:
            address = access_control.address(request)
            given = (name, password, address, sessions.device(request))
            who = await to_thread.run_sync(accounts.sign_in, *given, limiter=heavy)
            try:
                check_password(password, who.role, who.name)
            except UserError as weak:
                if not new:
                    return renewal_page(_Page(request), who, weak)
                try:
                    by = Origin(who.id, address)
                    await to_thread.run_sync(accounts.set_password, who.name, new, by, limiter=heavy)
                except UserError as problem:
                    return renewal_page(_Page(request), who, problem)
            return await let_in(request, who)
        except UserError as problem:
            access_control.refused(
                request, "locked out" if isinstance(problem, LockedOut) else "wrong name or password"
            )
            return sign_in_page(_Page(request), name[:LONGEST_NAME], problem)

    @router.post("/sign-out", response_model=None)
    async def sign_out(request: Request) -> Response:
        annotator = access_control.signed_in(request)
        if annotator is not None:
            await to_thread.run_sync(accounts.end_sessions, annotator.id, access_control.origin(request))
        response = RedirectResponse(f"{root_of(request)}/sign-in", 303)
        sessions.end(request, response)
        return response

    def invitation_page(page: _Page, token: str, name: str = "", problem: UserError | None = None) -> Response:
        try:
            role, invited = accounts.invitation(token)
        except UserError as gone:
            return page("invitation", problem=gone, button=False, note=page.words["sign_in.note"])
        password = page.new_password("password", role, required=role != "annotator")
        if invited is not None:
            return page(
                "invitation", password, text=page.words["invitation.named"].format(name=invited), problem=problem
            )
        own = page.name(name, page.words["invitation.name_hint"])
        return page("invitation", own, password, text=page.words[f"invitation.{role}"], problem=problem)

    @router.get("/invitation/{token}", response_model=None)
    def show_invitation(request: Request, token: str) -> Response:
        return invitation_page(_Page(request), token)

    @router.post("/invitation/{token}", response_model=None)
    async def accept(request: Request, token: str, name: FormText = "", password: FormText = "") -> Response:
        try:
            given = (token, name, password or None, access_control.address(request))
            return await let_in(request, await to_thread.run_sync(accounts.redeem, *given, limiter=heavy))
        except UserError as problem:
            access_control.refused(request, "an invitation was not accepted")
            page = _Page(request)
            return await to_thread.run_sync(invitation_page, page, token, name[:LONGEST_NAME], problem)

    def account_page(page: _Page, who: Annotator, problem: UserError | None = None, done: str = "") -> Response:
        old = Field("old", page.words["account.old"])
        fields = [old] if accounts.person(who.id).has_password else []
        text = page.words["account.text"].format(name=who.name)
        new = page.new_password("new", who.role, required=True)
        back = page.words["account.back"]
        return page("account", *fields, new, text=text, problem=problem, done=done, back=back, page_of=who.id)

    @router.get("/account", response_model=None)
    def account(request: Request, who: SignedIn) -> Response:
        return account_page(_Page(request), who)

    @router.post("/account", response_model=None)
    async def change(
        request: Request,
        who: SignedIn,
        new: FormText = "",
        old: FormText = "",
    ) -> Response:
        def set_password() -> int:
            if accounts.person(who.id).has_password:
                accounts.sign_in(who.name, old, access_control.address(request), sessions.device(request))
            accounts.set_password(who.name, new, access_control.origin(request))
            return accounts.session_version(who.id)

        page = _Page(request)
        try:
            version = await to_thread.run_sync(set_password, limiter=heavy)
        except UserError as problem:
            access_control.refused(request, "the password was not changed")
            return await to_thread.run_sync(account_page, page, who, problem)
        response = await to_thread.run_sync(account_page, page, who, None, page.words["account.changed"])
        sessions.start(request, response, who.id, version)
        return response

    return router
