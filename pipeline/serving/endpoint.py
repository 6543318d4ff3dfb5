"""The OpenAI-compatible endpoint: models, chats and completions, as JSON or as a stream, for whoever has a key.

Errors have OpenAI's shape. Left out on purpose: what the fields mean (`requests.py`), and drawing (`engine.py`).
"""

import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import sqlalchemy as sa
from anyio import to_thread
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from foundation.errors import UserError
from labeling_ui.data_model import Annotator
from labeling_ui.people.api_keys import owner_of
from labeling_ui.people.pace import Pace, TooFast
from labeling_ui.store.store import Store
from labeling_ui.web.access_control import refused
from pipeline.serving.completions import Completion, stream, whole
from pipeline.serving.engine import RETRY_SECONDS, Answer, Busy, TooMany
from pipeline.serving.requests import AdapterRequest, ChatRequest, Drawing, LoadRequest
from pipeline.serving.served import Chat, PlainText, Prompt, Served, TokenIds, UnknownModel
from pipeline.serving.text_completions import TextCompletion, TextRequest

LARGEST_REQUEST = 1 << 20  # bytes, as in the labeling app
_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}

_log = logging.getLogger(__name__)
Handler = Callable[[Request, Annotator], Awaitable[Response]]


class Refused(Exception):
    """A request that is answered by an error."""

    def __init__(self, status: int, message: str, code: str | None = None, *, param: str | None = None,
                 retry: int | None = None) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.code, self.param, self.retry = status, code, param, retry

    @property
    def response(self) -> Response:
        """The error in OpenAI's shape."""
        headers = dict(_HEADERS)
        if self.retry is not None:
            headers["retry-after"] = str(self.retry)
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        return JSONResponse({"error": error_of(self)}, self.status, headers)


def error_of(refusal: Refused) -> dict[str, Any]:
    """What OpenAI's clients read."""
    kinds = {429: "rate_limit_error"}
    kind = kinds.get(refusal.status, "server_error" if refusal.status >= 500 else "invalid_request_error")
    return {"message": str(refusal), "type": kind, "param": refusal.param, "code": refusal.code}


def build_endpoint(store: Store, served: Served) -> Starlette:
    """The routes under /v1; everything on them needs a key."""
    settings = served.settings
    pace = Pace(settings.per_minute, settings.per_minute / 60)
    started = int(time.time())

    def for_owners(handle: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def handled(request: Request) -> Response:
            try:
                person = await _person(request, store)
                pace.take(person.id)
                return await handle(request, person)
            except Exception as error:
                return refusal_of(error).response

        return handled

    def described(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": started, "owned_by": "rlhf-pipeline"}

    async def models(_request: Request, _person: Annotator) -> Response:
        return JSONResponse({"object": "list", "data": [described(name) for name in served.adapters]}, headers=_HEADERS)

    async def model(request: Request, _person: Annotator) -> Response:
        name = request.path_params["name"]
        if name not in served.adapters:
            raise UnknownModel(f'there is no model "{name[:100]}" here. Choose one of {", ".join(served.adapters)}.')
        return JSONResponse(described(name), headers=_HEADERS)

    async def chat(request: Request, person: Annotator) -> Response:
        asked = ChatRequest.model_validate_json(await _body(request))
        if asked.top_logprobs is not None and not asked.logprobs:
            raise Refused(400, "top_logprobs needs logprobs to be true.", param="top_logprobs")
        prompt = Chat([message.plain for message in asked.messages])
        answer, ids = await draw(person, asked, prompt, asked.limit)
        completion = Completion(f"chatcmpl-{secrets.token_hex(12)}", asked, served.renderer, len(ids))
        return await sent(request, completion, answer)

    async def complete(request: Request, person: Annotator) -> Response:
        asked = TextRequest.model_validate_json(await _body(request))
        if not set(asked.stop_token_ids or ()) <= set(served.renderer.eos_ids):
            raise Refused(400, "stop_token_ids: the model's own ends alone are known here.", param="stop_token_ids")
        said = asked.prompt
        prompt = PlainText(said, asked.add_special_tokens) if isinstance(said, str) else TokenIds(said)
        answer, ids = await draw(person, asked, prompt, asked.max_tokens)
        name = f"cmpl-{secrets.token_hex(12)}"
        return await sent(request, TextCompletion(name, asked, served.renderer, ids), answer)

    async def load(request: Request, _person: Annotator) -> Response:
        asked = LoadRequest.model_validate_json(await _body(request))
        try:
            await served.load(asked.lora_name, asked.lora_path, in_place=asked.load_inplace)
        except UserError as error:  # whatever it comes from: a file that cannot be read is whoever wrote it's to mend
            raise Refused(400, str(error)) from error
        return Response(f'Loaded the adapter "{asked.lora_name}".', media_type="text/plain", headers=_HEADERS)

    async def unload(request: Request, _person: Annotator) -> Response:
        asked = AdapterRequest.model_validate_json(await _body(request))
        await served.unload(asked.lora_name)
        return Response(f'Unloaded the adapter "{asked.lora_name}".', media_type="text/plain", headers=_HEADERS)

    async def draw(person: Annotator, asked: Drawing, prompt: Prompt, longest: int | None) -> tuple[Answer, list[int]]:
        return await served.ask(
            person.id, asked.model, prompt, longest=longest, seed=asked.seed, number=asked.n or 1,
            likeliest=asked.likeliest, **asked.sampling,
        )  # fmt: skip

    async def sent(request: Request, completion: Completion, answer: Answer) -> Response:
        if completion.asked.stream:
            return stream(completion, answer, lambda error: error_of(refusal_of(error)), _HEADERS)
        try:
            found = await _unless_gone(request, lambda: whole(completion, answer))
        finally:
            answer.close()
        return JSONResponse(found, headers=_HEADERS)

    async def nothing(_request: Request, _person: Annotator) -> Response:
        raise Refused(404, "There is nothing here: see /v1/models, /v1/chat/completions and /v1/completions.")

    loading = {"load_lora_adapter": load, "unload_lora_adapter": unload} if settings.adapters_below else {}
    return Starlette(
        routes=[
            Route("/v1/models", for_owners(models)),
            Route("/v1/models/{name:path}", for_owners(model)),
            Route("/v1/chat/completions", for_owners(chat), methods=["POST"]),
            Route("/v1/completions", for_owners(complete), methods=["POST"]),
            *(Route(f"/v1/{name}", for_owners(handle), methods=["POST"]) for name, handle in loading.items()),
            Route("/v1/{rest:path}", for_owners(nothing), methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ],
        exception_handlers={HTTPException: _plain},
    )


def refusal_of(error: Exception) -> Refused:
    """What to answer for an error; what nobody foresaw is logged, and said without a word of what it was."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, TooFast):
        return Refused(429, str(error), "rate_limit_exceeded", retry=error.seconds)
    if isinstance(error, TooMany):
        return Refused(429, str(error), "rate_limit_exceeded", retry=RETRY_SECONDS)
    if isinstance(error, Busy):
        return Refused(503, str(error), "overloaded", retry=RETRY_SECONDS)
    if isinstance(error, UnknownModel):
        return Refused(404, str(error), "model_not_found", param="model")
    if isinstance(error, ValidationError):
        found = max(error.errors(), key=lambda each: len(each["loc"]))  # of a choice, where it came furthest
        where = ".".join(part for part in map(str, found["loc"]) if part.isidentifier() or part.isdigit())
        where = where or "the request"
        return Refused(400, f"{where}: {found['msg'].removeprefix('Value error, ')}.", param=where)
    if isinstance(error, UserError) and not isinstance(error.__cause__, sa.exc.SQLAlchemyError | OSError):
        return Refused(400, str(error), "context_length_exceeded" if "context of" in str(error) else None)
    _log.error("a request failed", exc_info=error)
    return Refused(500, "The model could not answer. Try again.")


async def _person(request: Request, store: Store) -> Annotator:
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not key.strip():
        raise Refused(401, "There is no key in this request: send `Authorization: Bearer KEY`.", "invalid_api_key")
    person = await to_thread.run_sync(owner_of, store.database, key.strip())
    if person is None:
        refused(request, "unknown key")
        raise Refused(401, "This key is not right, or was revoked.", "invalid_api_key")
    return person


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_REQUEST:
            raise Refused(413, f"The request is larger than {LARGEST_REQUEST} bytes.", "request_too_large")
    return bytes(body)


async def _unless_gone(request: Request, work: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any] | None:
    """What the work gives; None as soon as the client has gone away."""
    found: dict[str, Any] | None = None
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        found = await work()
        tasks.cancel_scope.cancel()
    return found


async def _plain(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return Refused(error.status_code, str(error.detail)).response
