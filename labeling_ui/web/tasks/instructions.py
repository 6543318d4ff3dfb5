"""The page on which an admin edits what annotators read above their tasks: a form, a preview, and earlier editions."""

from collections.abc import Mapping

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from foundation.errors import UserError
from labeling_ui.campaign import Campaign, CampaignSettings
from labeling_ui.people.audit import note
from labeling_ui.store.review.review import TaskReview
from labeling_ui.store.review.texts import EditedMeanwhile, Edition, Texts, edited
from labeling_ui.store.store import Store
from labeling_ui.web import access_control
from labeling_ui.web.api import is_failure
from labeling_ui.web.proxy.root_path import root_of
from labeling_ui.web.tasks.page import Admin, ErrorPageRoute, page, words_of

PLACE = "/admin/instructions"
LONGEST = next(
    rule.max_length for rule in CampaignSettings.model_fields["instructions"].metadata if hasattr(rule, "max_length")
)
LONGEST_DEFINITION = 500


def build_router(store: Store) -> APIRouter:
    """The routes over `store`."""
    review = TaskReview(store.database)
    router = APIRouter(route_class=ErrorPageRoute)

    def editable() -> dict[str, Campaign]:
        return {each.name: each for each in store.campaigns() if not each.is_verdict}

    @router.get(PLACE)
    def first(request: Request, _admin: Admin) -> Response:
        name = next(iter(editable()), None)
        if name is None:
            return page(request, "problem", problem=words_of(request)[1]["texts.none"])
        return RedirectResponse(f"{root_of(request)}{PLACE}/{name}", 303)

    @router.get(f"{PLACE}/{{name}}")
    def read(request: Request, name: str, _admin: Admin, edition: int | None = None) -> Response:
        editions = review.editions(name)
        wanted = next((each for each in editions if each.number == edition), editions[0])
        return shown(request, name, editions, wanted.texts)

    @router.post(f"{PLACE}/{{name}}")
    async def edit(request: Request, name: str, _admin: Admin) -> Response:
        form = {field: value for field, value in (await request.form()).items() if isinstance(value, str)}
        return await to_thread.run_sync(save, request, name, form)

    def save(request: Request, name: str, form: Mapping[str, str]) -> Response:
        editions = review.editions(name)
        texts = read_texts(form)
        try:
            edited(editable()[name], texts)
            if form.get("do") == "preview":
                return shown(request, name, editions, texts, began_from=_number(form), preview=True)
            review.save_texts(name, texts, _number(form))
        except EditedMeanwhile:
            return shown(request, name, review.editions(name), texts, status=409, theirs=True)
        except UserError as error:
            if is_failure(error):
                raise
            return shown(request, name, editions, texts, began_from=_number(form), problem=str(error), status=422)
        note(store.database, "texts_edited", access_control.origin(request), detail=name)
        return RedirectResponse(f"{root_of(request)}{PLACE}/{name}?done=texts", 303)

    def shown(
        request: Request, name: str, editions: list[Edition], texts: Texts, *, began_from: int | None = None,
        preview: bool = False, theirs: bool = False, problem: str = "", status: int = 200,
    ) -> Response:  # fmt: skip
        campaigns = editable()
        done = words_of(request)[1]["done.texts"] if request.query_params.get("done") == "texts" else ""
        return page(
            request, "instructions", status, campaigns=list(campaigns), campaign=campaigns[name], editions=editions,
            texts=texts, began_from=editions[0].number if began_from is None else began_from, preview=preview,
            theirs=theirs, problem=problem, done=done, longest=LONGEST, longest_definition=LONGEST_DEFINITION,
        )  # fmt: skip

    return router


def read_texts(form: Mapping[str, str]) -> Texts:
    """The texts of a form: aspects are named beside their definitions, since they may have changed since."""
    definitions = {
        form.get(f"aspect-{number}", ""): words
        for number in range(len(form))
        if (words := _tidy(form.get(f"definition-{number}", "")))
    }
    return Texts(_tidy(form.get("instructions", "")), definitions)


def _tidy(text: str) -> str:
    """Line breaks as everywhere else (browsers send two characters for each), and none at the end."""
    return text.replace("\r\n", "\n").rstrip()


def _number(form: Mapping[str, str]) -> int:
    given = form.get("began_from", "")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 10 else 0
