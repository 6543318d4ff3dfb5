"""The pages that let people in: sign-in, one-time invitations, one's own password, sign-out.

Plain forms without any script. Checking a password is heavy work, so it has threads of its own, two at a time: a flood
of sign-ins makes sign-ins wait, and never labeling. Left out on purpose: accounts (`people/`), and who may
ask (`access_control.py`).
"""

from dataclasses import dataclass
from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from foundation.errors import UserError
from labeling_ui.data_model import Annotator
from labeling_ui.people.account_rows import LONGEST_NAME
from labeling_ui.people.accounts import Accounts, WrongPassword
from labeling_ui.people.lockout import LockedOut
from labeling_ui.people.passwords import LONGEST_PASSWORD, SHORTEST_PASSWORD
from labeling_ui.people.sessions import Sessions
from labeling_ui.web import access_control, translations
from labeling_ui.web.templates import render

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

    def __call__(
        self, kind: str, *fields: Field, text: str = "", problem: UserError | None = None, done: str = "",
        note: str = "", button: bool = True, back: str = "",
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
        )
        headers = dict(access_control.PLAIN_PAGE)
        if isinstance(problem, LockedOut):
            headers["retry-after"] = str(problem.seconds)
        status = 429 if isinstance(problem, LockedOut) else 200 if problem is None else 422
        return HTMLResponse(body, status, headers)

    def _said(self, problem: UserError | None) -> str:
        if isinstance(problem, LockedOut):
            return self.words["sign_in.locked"].format(seconds=problem.seconds)
        return self.words["sign_in.wrong"] if isinstance(problem, WrongPassword) else str(problem or "")

    def name(self, value: str = "", hint: str = "") -> Field:
        return Field("name", self.words["sign_in.name"], "text", "username", value, hint, longest=LONGEST_NAME)

    def new_password(self, name: str, required: bool) -> Field:
        hint = self.words["password.hint" if required else "password.optional"].format(shortest=SHORTEST_PASSWORD)
        return Field(name, self.words["password.new"], autocomplete="new-password", hint=hint, required=required)


def build_router(accounts: Accounts, sessions: Sessions) -> APIRouter:
    """The routes over `accounts`; `sessions` signs the cookies."""
    router = APIRouter()
    heavy = CapacityLimiter(2)

    async def let_in(request: Request, annotator: Annotator) -> Response:
        response = RedirectResponse("/", 303)
        version = await to_thread.run_sync(accounts.session_version, annotator.id)
        sessions.start(request, response, annotator.id, version)
        return response

    def sign_in_page(page: _Page, name: str = "", problem: UserError | None = None) -> Response:
        password = Field("password", page.words["sign_in.password"])
        text, note = page.words["sign_in.text"], page.words["sign_in.note"]
        return page("sign_in", page.name(name), password, text=text, note=note, problem=problem)

    @router.get("/sign-in", response_model=None)
    async def ask(request: Request) -> Response:
        return RedirectResponse("/", 303) if access_control.signed_in(request) else sign_in_page(_Page(request))

    @router.post("/sign-in", response_model=None)
    async def sign_in(request: Request, name: FormText = "", password: FormText = "") -> Response:
        try:
            given = (name, password, access_control.address(request))
            return await let_in(request, await to_thread.run_sync(accounts.sign_in, *given, limiter=heavy))
        except UserError as problem:
            access_control.refused(
                request, "locked out" if isinstance(problem, LockedOut) else "wrong name or password"
            )
            return sign_in_page(_Page(request), name[:LONGEST_NAME], problem)

    @router.post("/sign-out", response_model=None)
    async def sign_out(request: Request) -> Response:
        annotator = access_control.signed_in(request)
        if annotator is not None:
            await to_thread.run_sync(accounts.end_sessions, annotator.id)
        response = RedirectResponse("/sign-in", 303)
        sessions.end(request, response)
        return response

    def invitation_page(page: _Page, token: str, name: str = "", problem: UserError | None = None) -> Response:
        try:
            role, invited = accounts.invitation(token)
        except UserError as gone:
            return page("invitation", problem=gone, button=False, note=page.words["sign_in.note"])
        password = page.new_password("password", required=role != "annotator")
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
            given = (token, name, password or None)
            return await let_in(request, await to_thread.run_sync(accounts.redeem, *given, limiter=heavy))
        except UserError as problem:
            access_control.refused(request, "an invitation was not accepted")
            page = _Page(request)
            return await to_thread.run_sync(invitation_page, page, token, name[:LONGEST_NAME], problem)

    def account_page(page: _Page, who: Annotator, problem: UserError | None = None, done: str = "") -> Response:
        old = Field("old", page.words["account.old"])
        fields = [old] if accounts.person(who.id).has_password else []
        text = page.words["account.text"].format(name=who.name)
        new = page.new_password("new", required=True)
        return page("account", *fields, new, text=text, problem=problem, done=done, back=page.words["account.back"])

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
                accounts.sign_in(who.name, old, access_control.address(request))
            accounts.set_password(who.name, new)
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
