"""The audit log for admins: a page at a time, by kind of event, and all of it as a table."""

from collections.abc import Iterator

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from foundation.errors import UserError
from labeling_ui.exchange.exports.files import table_line
from labeling_ui.people.audit import EVENTS, note, read_all, read_page
from labeling_ui.store.store import Store
from labeling_ui.web import access_control
from labeling_ui.web.tasks.page import Admin, ErrorPageRoute, page

_LONGEST_NUMBER = 15


def build_router(store: Store) -> APIRouter:
    """The routes over `store`."""
    router = APIRouter(route_class=ErrorPageRoute)

    @router.get("/admin/audit")
    def show(request: Request, _admin: Admin) -> Response:
        event, before = request.query_params.get("event", ""), request.query_params.get("before", "")
        if event and event not in EVENTS:
            raise UserError(f'there is no event "{event[:40]}": choose one of {", ".join(EVENTS)}.')
        if before and not (before.isascii() and before.isdigit() and len(before) < _LONGEST_NUMBER):
            raise UserError(f'"{before[:40]}" is no entry of the log.')
        entries, following = read_page(store.database, int(before) if before else None, event or None)
        return page(
            request, "audit", entries=entries, event=event, events=EVENTS, later=bool(before), following=following
        )

    @router.get("/admin/audit.csv")
    def download(request: Request, _admin: Admin) -> Response:
        note(store.database, "exported", access_control.origin(request), detail="audit log")
        headers = {"content-disposition": 'attachment; filename="audit.csv"', "cache-control": "no-store"}
        return StreamingResponse(_lines(store), media_type="text/csv; charset=utf-8", headers=headers)

    return router


def _lines(store: Store) -> Iterator[str]:
    yield "\ufeff" + table_line(("number", "time", "event", "person", "subject", "detail", "address"))
    for one in read_all(store.database):
        yield table_line((one.number, one.created_at, one.event, one.person, one.subject, one.detail, one.address))
