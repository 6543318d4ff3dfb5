"""What the pages of a lead share: words in the visitor's language, the frame, and errors as pages.

Plain HTML and forms without any script: nothing that a model or an annotator wrote could run.
"""

import logging
from collections.abc import Callable
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from markupsafe import Markup

from foundation.errors import UserError
from labeling_ui.data_model import Annotator
from labeling_ui.markdown.block import STYLE
from labeling_ui.markdown.render import to_html
from labeling_ui.web import access_control, translations
from labeling_ui.web.api import is_failure
from labeling_ui.web.proxy.root_path import root_of
from labeling_ui.web.templates import render

Reviewer = Annotated[Annotator, Depends(access_control.require("reviewer"))]
Admin = Annotated[Annotator, Depends(access_control.require("admin"))]

log = logging.getLogger(__name__)


def words_of(request: Request) -> tuple[str, dict[str, str]]:
    """The visitor's language, and the words of these pages in it."""
    cookie = request.cookies.get(translations.COOKIE)
    code = translations.choose(cookie, request.headers.get("accept-language"))
    return code, translations.words(code, "tasks")


def page(request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page of `static/tasks`, under the strictest policy."""
    code, words = words_of(request)
    person = access_control.signed_in(request)
    body = render(
        f"tasks/{name}.html",
        language=code,
        w=words,
        root=root_of(request),
        person=person,
        is_admin=person is not None and access_control.may(person, "admin"),
        written=written,
        rendered_css=Markup(STYLE.read_text(encoding="utf-8")),
        when=when,
        **values,
    )
    return HTMLResponse(body, status, access_control.PLAIN_PAGE)


def written(text: str) -> Markup:
    """What a model or a person wrote, rendered and sanitised; as it was written where that cannot be."""
    html = to_html(text)
    if html is None:
        return Markup('<div class="text" dir="auto">{}</div>').format(text)
    return Markup('<div class="text rendered" dir="auto">{}</div>').format(Markup(html))


def when(time: str) -> str:
    """A time of the store for people, in UTC."""
    return f"{time[:16].replace('T', ' ')} UTC"


class ErrorPageRoute(APIRoute):
    """A route whose refusals are a page with one sentence: 422 for bad input, 503 for a store that fails."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """The handler, with errors as pages."""
        handle = super().get_route_handler()

        async def plainly(request: Request) -> Response:
            try:
                response: Response = await handle(request)
                return response
            except RequestValidationError:
                return page(request, "problem", 422, problem=words_of(request)[1]["problem.form"])
            except (UserError, sa.exc.SQLAlchemyError, OSError) as error:
                if isinstance(error, UserError) and not is_failure(error):
                    return page(request, "problem", 422, problem=str(error))
                log.error("the label store failed: %s", error)
                return page(request, "problem", 503, problem=access_control.UNUSABLE)

        return plainly
