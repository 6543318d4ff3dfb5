"""The routes of the task browser: finding and reading for reviewers and admins, deciding too; changing for admins."""

from collections import Counter
from collections.abc import Mapping
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from foundation.errors import UserError
from labeling_ui.data_model import VERDICTS
from labeling_ui.exchange.exports.files import table_line
from labeling_ui.people.audit import note
from labeling_ui.store.review.changes import LONGEST_REASON, Change
from labeling_ui.store.review.reading import TaskRow
from labeling_ui.store.review.review import TaskReview
from labeling_ui.store.review.search import Cursor
from labeling_ui.store.review.work import Work
from labeling_ui.store.store import Store
from labeling_ui.web import access_control
from labeling_ui.web.api import is_failure
from labeling_ui.web.proxy.root_path import root_of
from labeling_ui.web.tasks.decision_form import read_decision
from labeling_ui.web.tasks.filters import STATES, address, read_filters, read_period
from labeling_ui.web.tasks.page import Admin, ErrorPageRoute, Reviewer, page, words_of
from labeling_ui.web.tasks.wording import in_words, letters_of, told

MOST_CHANGED = 200
"""Tasks changed by one press."""


def build_router(store: Store) -> APIRouter:
    """The routes over `store`."""
    review = TaskReview(store.database)
    router = APIRouter(route_class=ErrorPageRoute)

    @router.get("/admin/tasks")
    def browse(request: Request, _reviewer: Reviewer) -> Response:
        query = request.query_params
        cursor = Cursor.read(query.get("after"))
        problem, found = "", None
        rows: list[TaskRow] = []
        try:
            found, rows = review.find(read_filters(query), cursor)
        except UserError as error:
            if is_failure(error):
                raise
            problem = str(error)
        following = address(query, found.following) if found and found.following else ""
        return page(
            request,
            "list",
            422 if problem else 200,
            query=query,
            rows=rows,
            problem=problem,
            following=following,
            searched_all=found is None or found.searched_all,
            first="" if cursor is None else address(query),
            campaigns=[each.name for each in store.campaigns()],
            people=store.annotators(),
            verdicts=VERDICTS,
            states=STATES,
            here=address(query, cursor),
            done=_done(request),
        )

    @router.get("/admin/tasks/{task_id}")
    def read(request: Request, task_id: str, reviewer: Reviewer) -> Response:
        return _task(request, task_id, reviewer.id)

    def _task(request: Request, task_id: str, reader: str, problem: str = "", form: Mapping[str, str] = {}) -> Response:
        detail, words = review.task(task_id), words_of(request)[1]
        return page(
            request,
            "task",
            422 if problem else 200,
            detail=detail,
            task=detail.task,
            campaign=detail.campaign,
            letters=letters_of(detail.task),
            said=told(detail, words),
            decided=in_words(detail.decision.answer, detail.task, words) if detail.decision else "",
            gold=in_words(detail.task.gold, detail.task, words) if detail.task.gold else "",
            given=Counter(each.judgement.answer.verdict for each in detail.judgements),
            judged_too=reader in detail.judges,
            decider_judged=detail.decision is not None and detail.decision.annotator_id in detail.judges,
            can_decide=not (detail.task.gold or detail.task.repeat_of or detail.campaign.is_verdict)
            and detail.task.state != "removed",
            problem=problem,
            form=form,
            done=_done(request),
        )

    @router.post("/admin/tasks/{task_id}/decision")
    async def decide(request: Request, task_id: str, reviewer: Reviewer) -> Response:
        form = {name: value for name, value in (await request.form()).items() if isinstance(value, str)}
        return await to_thread.run_sync(_decide, request, task_id, reviewer.id, form)

    def _decide(request: Request, task_id: str, reviewer_id: str, form: dict[str, str]) -> Response:
        detail = review.task(task_id)
        try:
            review.decide(task_id, reviewer_id, read_decision(form, detail.task, detail.campaign))
        except UserError as error:
            if is_failure(error):
                raise
            return _task(request, task_id, reviewer_id, str(error), form)
        note(store.database, "task_decided", access_control.origin(request), detail=task_id)
        return _see(request, f"/admin/tasks/{task_id}?done=decided")

    @router.post("/admin/tasks/{task_id}/reopen")
    def reopen(request: Request, task_id: str, reviewer: Reviewer) -> Response:
        review.reopen(task_id, reviewer.id)
        note(store.database, "decision_withdrawn", access_control.origin(request), detail=task_id)
        return _see(request, f"/admin/tasks/{task_id}?done=reopened")

    @router.post("/admin/tasks")
    def change(
        request: Request,
        admin: Admin,
        change: Annotated[Change, Form()],
        task: Annotated[list[str], Form(max_length=MOST_CHANGED)] = [],  # noqa: B006 - FastAPI copies it
        reason: Annotated[str, Form(max_length=LONGEST_REASON)] = "",
        back: Annotated[str, Form(max_length=2000)] = "",
    ) -> Response:
        changed = review.change(task, change, admin.id, reason.strip())
        if changed:
            said = f"{change}: {', '.join(changed)}"
            note(store.database, "tasks_changed", access_control.origin(request), detail=said)
        target = back if back.startswith("/admin/tasks") and back.isprintable() else "/admin/tasks"
        return _see(request, f"{target}{'&' if '?' in target else '?'}done={change}&n={len(changed)}")

    @router.get("/admin/work")
    def work(request: Request, _admin: Admin) -> Response:
        query, problem = request.query_params, ""
        rows: list[Work] = []
        try:
            rows = review.work(*read_period(query))
        except UserError as error:
            if is_failure(error):
                raise
            problem = str(error)
        return page(request, "work", 422 if problem else 200, query=query, rows=rows, problem=problem)

    @router.get("/admin/work.csv")
    def work_table(request: Request, _admin: Admin) -> Response:
        rows = review.work(*read_period(request.query_params))
        head = (
            "person", "id", "simulated", "answers", "skips", "withdrawn", "hours", "answers_per_hour",
            "untimed_answers", "known_answers", "share_right", "first", "last",
        )  # fmt: skip
        lines = [table_line(head)]
        for one in rows:
            rate = None if one.rate is None else round(one.rate, 2)
            right = None if one.gold_right is None else round(one.gold_right, 4)
            lines.append(
                table_line(
                    (one.name, one.annotator_id, one.simulated, one.answers, one.skips, one.withdrawn,
                     round(one.hours, 4), rate, one.untimed, one.gold, right, one.first, one.last)
                )
            )  # fmt: skip
        headers = {"content-disposition": 'attachment; filename="work.csv"', "cache-control": "no-store"}
        return Response("\ufeff" + "".join(lines), media_type="text/csv; charset=utf-8", headers=headers)

    return router


def _see(request: Request, place: str) -> RedirectResponse:
    return RedirectResponse(f"{root_of(request)}{place}", 303)


def _done(request: Request) -> str:
    """What the press before did, in words."""
    words, query = words_of(request)[1], request.query_params
    text = words.get(f"done.{query.get('done', '')}", "")
    number = query.get("n", "")
    return text.format(n=number if number.isdigit() and len(number) < 7 else "0")
