"""Fresh responses of the current policy, for annotators who type prompts: written in a process of its own.

The process starts with the first prompt and runs at low priority, so that judgements are taken as fast as ever. It
holds the base and the newest policy adapter, and changes the adapter when a round has made a newer one, or made its own
anew. Left out on purpose: who may ask, and who waits for whom (`labeling_ui/web/live_prompts.py`).
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from backbone.loading.saved_weights import WEIGHTS
from backbone.loading.settings import Quantization
from backbone.sampling_config import SamplingConfig
from backbone.templates.plain_text import TemplateChoice
from foundation.errors import UserError
from labeling_ui.data_model import Message
from pipeline.config.config import Config
from pipeline.runs.folder import Run

if TYPE_CHECKING:
    from backbone.adapters import SharedBase

_NICE = 10
_SHOWN_SECONDS = 0.05  # nobody reads faster
_STOP = "stop"


class _Model(NamedTuple):
    """What the process loads, and how it samples."""

    name: str
    dtype: str
    device: str
    template: TemplateChoice
    quantization: Quantization | None
    sampling: SamplingConfig


class _Asked(NamedTuple):
    messages: list[Message]
    seed: int
    adapter: Path | None


class LivePolicy:
    """`generate(messages, seed)` for the labeling app: two samples of the newest policy, growing as they are written.

    `newest` names the adapter's folder (None: the base as it is); it is asked before each prompt. For one thread at a
    time.
    """

    def __init__(
        self,
        model: str,
        sampling: SamplingConfig,
        newest: Callable[[], Path | None],
        dtype: str,
        device: str,
        template: TemplateChoice = "auto",
        quantization: Quantization | None = None,
    ) -> None:
        self._model = _Model(model, dtype, device, template, quantization, sampling)
        self._newest = newest
        self._connection: Connection | None = None
        self._adapter: Path | None = None

    @property
    def source(self) -> Mapping[str, Any]:
        """What wrote the last responses."""
        sampling = self._model.sampling
        adapter = f"{self._adapter.parent.name}/{self._adapter.name}" if self._adapter else None
        drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p}
        return {"model": self._model.name, "adapter": adapter, **drawn}

    def __call__(self, messages: Sequence[Message], seed: int) -> Iterator[tuple[str, str]]:
        """Both responses so far, again and again, until they are finished; `UserError` if there can be none."""
        self._adapter = self._newest()
        connection = self._connection or self._start()
        working = False
        try:
            connection.send(
                _Asked([Message(role=m["role"], content=m["content"]) for m in messages], seed, self._adapter)
            )
            working = True
            while working:
                kind, value = connection.recv()
                working = kind == "texts"
                if kind == "error":
                    raise UserError(value)
                if working:
                    yield value
        except (EOFError, OSError) as error:
            working = False
            self.close()
            raise UserError("the process that writes responses ended (out of memory?). Ask again.") from error
        finally:
            if working:
                self._stop(connection)

    def close(self) -> None:
        """End the process; the next prompt starts another."""
        if self._connection:
            self._connection.close()  # its process ends when it finds that nobody listens
            self._connection = None

    def _start(self) -> Connection:
        context = get_context("spawn")
        here, there = context.Pipe()
        context.Process(target=_serve, args=(there, self._model), daemon=True, name="live policy").start()
        there.close()
        self._connection = here
        return here

    def _stop(self, connection: Connection) -> None:
        """The annotator went away: let the process stop at the next token."""
        try:
            connection.send(_STOP)
            while connection.recv()[0] == "texts":
                pass
        except (EOFError, OSError):
            self.close()


@contextmanager
def live_policy(run: Run, config: Config) -> Iterator[LivePolicy | None]:
    """What answers the prompts that annotators type, if they may: the base, or the newest round's policy."""
    if not config.label.live:
        yield None
        return

    def newest() -> Path | None:
        made = [folder for folder in (run.at(number).folder / "policy" for number in run.rounds()) if folder.exists()]
        return made[-1] if made else None

    policy = LivePolicy(
        config.model, config.collect.sampling, newest, config.dtype, config.device, config.template, config.quantization
    )
    try:
        yield policy
    finally:
        policy.close()


class _Stopped(Exception):
    pass


def _serve(connection: Connection, model: _Model) -> None:
    """The process: answer prompts until nobody listens any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the server, which then closes the connection
    os.nice(_NICE)
    base: SharedBase | None = None
    loaded: tuple[object, ...] = ()
    try:
        while True:
            asked = connection.recv()
            if asked == _STOP:  # it came after the last token
                continue
            try:
                newest = _state(asked.adapter)
                if base is None or loaded != newest:
                    base, loaded = _load(model, asked.adapter), newest
                _write(connection, base, asked, model.sampling)
            except (UserError, MemoryError) as error:
                connection.send(("error", str(error) or "there is not enough memory for the model."))
            except _Stopped:
                connection.send(("done", None))
            else:
                connection.send(("done", None))
    except (EOFError, OSError):
        return


def _state(adapter: Path | None) -> tuple[object, ...]:
    """What tells an adapter from others, also from one that was made anew in the same round: where, and which file."""
    if adapter is None or not (adapter / WEIGHTS).is_file():
        return (adapter,)
    stat = (adapter / WEIGHTS).stat()
    return adapter, stat.st_mtime_ns, stat.st_ino


def _load(model: _Model, adapter: Path | None) -> "SharedBase":
    from backbone.exactness import load_shared_base

    base = load_shared_base(model.name, model.dtype, model.device, model.template, model.quantization)
    if adapter is not None:
        base.load_adapter("policy", adapter)
    return base


def _write(connection: Connection, base: "SharedBase", asked: _Asked, sampling: SamplingConfig) -> None:
    from backbone.sampling import sample

    ids = base.renderer.prompt_ids(asked.messages, sampling.max_new_tokens)
    shown = 0.0

    def send(tokens: Sequence[Sequence[int]]) -> None:
        # A letter of several tokens is not shown before the last of them.
        one, other = (base.renderer.text(list(row)).rstrip("\ufffd") for row in tokens)
        connection.send(("texts", (one, other)))

    def on_token(tokens: Sequence[Sequence[int]]) -> None:
        nonlocal shown
        if connection.poll() and connection.recv() == _STOP:
            raise _Stopped
        if time.monotonic() - shown >= _SHOWN_SECONDS:
            shown = time.monotonic()
            send(tokens)

    with base.using("policy" if asked.adapter else None):
        drawn = sample(base, [ids], sampling, group=2, seed=asked.seed, on_token=on_token)
    send([one.response_ids for one in drawn])
