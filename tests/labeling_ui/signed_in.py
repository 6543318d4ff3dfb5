"""What the tests of the web server share: the whole app over a small store, and browsers of people signed in to it."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import FastAPI
from fastapi.testclient import TestClient

from labeling_ui.data_model import Role
from labeling_ui.people.accounts import Accounts
from labeling_ui.store.store import Store
from labeling_ui.web.app import build_app
from tests.labeling_ui.pages import add_pairs

HTML = {"accept": "text/html"}
PASSWORD = "correct horse"


@dataclass
class LabelingApp:
    """The app over a small store, and who can sign in to it."""

    store: Store
    people: Accounts
    app: FastAPI
    made: set[str] = field(default_factory=set)

    def visitor(self, base: str = "http://labels.test", address: str = "192.0.2.1") -> TestClient:
        """Somebody who is not signed in."""
        return TestClient(self.app, base_url=base, follow_redirects=False, client=(address, 50000))

    def client(self, name: str, role: Role = "annotator", base: str = "http://labels.test") -> TestClient:
        """Somebody who is; their account is made where there is none."""
        if name not in self.made:
            self.people.add(name, role, PASSWORD)
            self.made.add(name)
        client = self.visitor(base)
        response = client.post("/sign-in", data={"name": name, "password": PASSWORD})
        assert response.status_code == 303, response.text
        return client


def open_app(folder: Path, pairs: int = 3) -> LabelingApp:
    store = Store(folder / "labels.db")
    add_pairs(store, pairs, overlap=100)

    async def build() -> FastAPI:
        return build_app(store, "secret")

    # Where no loop runs, Gradio makes some and leaves them open.
    return LabelingApp(store, Accounts(store.database), asyncio.run(build()))
