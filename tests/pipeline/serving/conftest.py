"""A server over the tiny model with two adapters, in this process, and OpenAI's own client for it."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
import uvicorn
from fastapi import FastAPI
from openai import DefaultHttpxClient, OpenAI

from backbone.adapters import SharedBase
from labeling_ui.people.accounts import Accounts
from labeling_ui.people.api_keys import make_key
from labeling_ui.store.store import Store
from pipeline.config.config import load_config
from pipeline.serving import chat as chat_module
from pipeline.serving import engine as engine_module
from pipeline.serving.app import build_app
from pipeline.serving.engine import Engine
from pipeline.serving.models import load, sources_of
from pipeline.serving.served import Served
from pipeline.serving.side_by_side import Write, side_by_side
from tests.shared_base import add_random_adapter
from tests.shared_base import load as load_base

PASSWORD = "a long enough password"
HELD_AFTER = 8


@dataclass
class Site:
    """A server that is running, and its keys by person."""

    address: str
    engine: Engine
    store: Store
    app: FastAPI
    keys: dict[str, str] = field(default_factory=dict)
    http: httpx2.Client = field(default_factory=DefaultHttpxClient)

    def key(self, name: str) -> str:
        if name not in self.keys:
            self.keys[name] = make_key(self.store.database, name)
        return self.keys[name]

    @contextmanager
    def visitor(self, name: str) -> Iterator[httpx.Client]:
        """Somebody who is signed in; their account is made if need be."""
        people = Accounts(self.store.database)
        if name not in {person.name for person in people.list()}:
            people.add(name, password=PASSWORD)
        with httpx.Client(base_url=self.address, timeout=60) as client:
            assert client.post("/sign-in", data={"name": name, "password": PASSWORD}).status_code == 303
            yield client

    def client(self, name: str = "Ann", **options: Any) -> OpenAI:
        given = {"api_key": self.key(name), "max_retries": 0, "timeout": 60, "http_client": self.http, **options}
        return OpenAI(base_url=f"{self.address}/v1", **given)


@pytest.fixture(scope="package")
def adapters(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Two adapters that change the model's answers."""
    found = {}
    for seed, name in enumerate(("round-000", "round-001"), 1):
        base = load_base(tiny_model)
        add_random_adapter(base, name, seed=seed)
        found[name] = tmp_path_factory.mktemp("runs") / name / "policy"
        base.save_adapter(name, found[name])
    return found


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """The address of a server in this process."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def open_site(
    tiny_model: Path, adapters: Mapping[str, Path], folder: Path, *overrides: str, write: Write | None = None
) -> Iterator[Site]:
    """The whole app; `write` stands in for the models on the chat page."""
    config = load_config(None, [f"model={tiny_model}", "dtype=float32", "device=cpu", *overrides], {})
    folders = {"base": None, "champion": adapters["round-001"], **adapters}
    base, names = load(folders, config)
    settings = config.serve
    engine = Engine(base, at_once=settings.at_once, waiting=settings.waiting, of_one=settings.of_one)
    store = Store(folder / "labels.db")
    served = Served.of(engine, names, settings)

    async def build() -> FastAPI:  # where no loop runs, Gradio makes some and leaves them open
        writes = write or side_by_side(served, config.collect.sampling)
        return build_app(store, "secret", served, sources_of(folders, config), writes)

    with ThreadPoolExecutor(1) as apart:  # a browser's tests have a loop of their own
        app = apart.submit(lambda: asyncio.run(build())).result()
    with serving(app) as address:
        opened = Site(address, engine, store, app)
        yield opened
        opened.http.close()
    engine.close()
    store.close()


@pytest.fixture(scope="package")
def site(tiny_model: Path, adapters: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(
        tiny_model,
        adapters,
        tmp_path_factory.mktemp("site"),
        "serve.per_minute=10000",
        "serve.max_new_tokens=64",
        "collect.sampling.max_new_tokens=24",
    ) as opened:
        yield opened


@pytest.fixture(scope="module")
def base(tiny_model: Path, adapters: Mapping[str, Path]) -> SharedBase:
    """The models that are served, loaded again."""
    base = load_base(tiny_model)
    for name, folder in adapters.items():
        base.load_adapter(name, folder)
    return base


@pytest.fixture(scope="module")
def client(site: Site) -> OpenAI:
    return site.client()


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Every answer stops after `HELD_AFTER` tokens, until this is called or the test ends; on the chat page, seeds are
    such that none ends before.
    """
    go, draw = threading.Event(), engine_module.draw_in_steps

    def held(*args: Any, **named: Any) -> Iterator[Any]:
        for number, step in enumerate(draw(*args, **named), 1):
            yield step
            while number == HELD_AFTER and not go.is_set():
                time.sleep(0.002)
                yield step._replace(places=(), rows=())

    monkeypatch.setattr(engine_module, "draw_in_steps", held)
    monkeypatch.setattr(chat_module, "_seed", lambda: 5)
    yield go.set
    go.set()
