"""Attacks on `rlhf serve`, as those on the labeling app are tried: refused, changing nothing, told without secrets."""

import json
import logging
import re
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labeling_ui.people.accounts import Accounts
from labeling_ui.people.lockout import FREE_BY_NAME
from labeling_ui.people.sessions import Sessions
from tests.labeling_ui.web.test_every_route import in_path, odd, values
from tests.pipeline.serving.conftest import PASSWORD, Site

NOT_SENT = {"/sign-out"}  # it ends the session of whoever sends it
FIELDS = ("models", "blind", "conversation", "prompt", "verdict", "seconds", "name", "password", "old", "new", "model",
          "messages", "n", "stream", "seed", "temperature", "max_tokens", "stop", "logprobs")  # fmt: skip
OF_PROGRAMS = (("GET", "/v1/models"), ("POST", "/v1/chat/completions"), ("GET", "/v1/{path}"), ("DELETE", "/v1/models"))


def routes(app: FastAPI) -> list[tuple[str, str]]:
    """Method and path of every route of the page's and of the endpoint's."""
    paths = app.openapi()["paths"]
    return sorted((method.upper(), path) for path, found in paths.items() if path not in NOT_SENT for method in found)


@pytest.mark.parametrize("who", ["nobody", "annotator", "program"])
def test_no_request_makes_the_server_fail(site: Site, who: str) -> None:
    asked = [*routes(site.app), *OF_PROGRAMS]
    assert {path for _, path in asked} >= {"/api/chat/begin", "/api/chat/say", "/api/chat/vote", "/sign-in"}
    begun = {"conversation": "no such one"}
    good: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {
            "model": "base", "messages": [{"role": "user", "content": "the cat"}], "max_tokens": 4,
        },
        "/api/chat/begin": {"models": ["base", "round-000"], "blind": True},
        "/api/chat/say": {**begun, "prompt": "the cat"},
        "/api/chat/vote": {**begun, "turn": 1, "verdict": "left"},
        "/api/chat/reveal": begun,
    }  # fmt: skip

    def send_all(client: httpx.Client) -> None:
        for method, path in asked:
            send_some(client, method, path)

    def send_some(client: httpx.Client, method: str, path: str) -> None:
        @settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=[*HealthCheck], database=None)
        @given(data=st.data())
        def send(data: st.DataObject) -> None:
            place = re.sub(r"\{[^}]+\}", lambda _: in_path(data.draw(odd)), path)
            sent = {name: data.draw(values) for name in data.draw(st.sets(st.sampled_from(FIELDS), max_size=4))}
            if path in good and data.draw(st.booleans()):
                sent = good[path] | (begun if "conversation" in good[path] else {}) | sent
            kind = data.draw(st.sampled_from(["application/json", "application/x-www-form-urlencoded"]))
            content = json.dumps(sent).encode()
            if kind != "application/json":
                content = data.draw(st.sampled_from([content, b"", b"\xff{", b"name=%00&password=x"]))
            answer = client.request(method, place, content=content, headers={"content-type": kind})
            assert answer.status_code < 500, (method, place, content[:200], answer.text[:300])
            if path == "/api/chat/begin" and answer.status_code == 200:
                begun["conversation"] = answer.json()["conversation"]

        send()

    if who == "annotator":
        with site.visitor("Fuzzy") as client:
            send_all(client)
    else:
        headers = {"authorization": f"Bearer {site.key('Prog')}"} if who == "program" else {}
        with httpx.Client(base_url=site.address, timeout=60, headers=headers) as client:
            send_all(client)
    assert site.store.verify() == []


def test_without_identity_nothing_is_served(site: Site) -> None:
    open_to_all = {"/sign-in", "/invitation/{token}", "/words"}
    with httpx.Client(base_url=site.address, timeout=60) as nobody:
        for method, path in [*routes(site.app), ("GET", "/config"), ("GET", "/gradio_api/info"), *OF_PROGRAMS[:2]]:
            if path not in open_to_all:
                asked = nobody.request(method, path.replace("{", "").replace("}", ""), json={})
                assert asked.status_code == 401, (method, path)


def test_a_forged_cookie_or_key_is_no_identity(site: Site) -> None:
    with site.visitor("Cora") as client:
        (name, value), *_ = client.cookies.items()
    for forged in ("x" + value[1:], value[:-3], "", Sessions("another secret")._seal.dumps(["root", 1])):
        asked = httpx.get(f"{site.address}/api/chat", cookies={name: forged}, timeout=60)
        assert asked.status_code == 401
    key = site.key("Kay")
    for wrong in (key[:-1], key + "x", key.upper(), "null", "' OR '1'='1"):
        asked = httpx.get(f"{site.address}/v1/models", headers={"authorization": f"Bearer {wrong}"}, timeout=60)
        assert asked.status_code == 401


def test_guessing_a_password_is_locked_out(site: Site) -> None:
    Accounts(site.store.database).add("Lucy", password=PASSWORD)
    with httpx.Client(base_url=site.address, timeout=60) as guesser:
        for number in range(FREE_BY_NAME):
            tried = guesser.post("/sign-in", data={"name": "Lucy", "password": f"hunter{number}"})
            assert tried.status_code == 422
        locked = guesser.post("/sign-in", data={"name": "Lucy", "password": PASSWORD})
        assert (locked.status_code, "set-cookie" in locked.headers) == (429, False)


def test_the_log_holds_no_secrets(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    key = site.key("Kim")
    headers = {"authorization": f"Bearer {key}"}
    with site.visitor("Secretive") as client:
        session = next(iter(client.cookies.values()))
        client.post("/sign-in", data={"name": "Secretive", "password": "my-secret-guess"})
        client.get("/gradio_api/file=%0aFAKE%20LINE%1b[31m?ticket=secret-ticket")
    httpx.get(f"{site.address}/v1/nowhere?key=secret-query", headers=headers, timeout=60)
    httpx.post(f"{site.address}/v1/chat/completions", headers={"authorization": f"Bearer {key}x"}, json={}, timeout=60)
    said = [
        record.getMessage() for record in caplog.records if record.name.startswith(("rlhf", "pipeline", "labeling"))
    ]
    assert said
    for secret in (key, session, "my-secret-guess", "secret-ticket", "secret-query"):
        assert not [line for line in said if secret in line]
    assert not [line for line in said if re.search(r"[\x00-\x1f\x7f]", line)]


@pytest.mark.parametrize("path", ["../../app.py", "..%2f..%2fapp.py", "%2e%2e%2fsign_in.html", "/etc/passwd"])
def test_the_pages_scripts_are_no_way_to_other_files(site: Site, path: str) -> None:
    with site.visitor("Pat") as client:
        asked = client.get(f"/page/{path}")
        assert (asked.status_code, "import" in asked.text) == (404, False)


def test_who_is_disabled_stops_at_the_next_request(site: Site) -> None:
    people = Accounts(site.store.database)
    with site.visitor("Dora") as client:
        headers = {"authorization": f"Bearer {site.key('Dora')}"}
        assert client.get("/api/chat").status_code == 200
        assert httpx.get(f"{site.address}/v1/models", headers=headers, timeout=60).status_code == 200
        people.disable("Dora")
        assert client.get("/api/chat").status_code == 401
        assert httpx.get(f"{site.address}/v1/models", headers=headers, timeout=60).status_code == 401
