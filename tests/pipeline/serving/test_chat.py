"""Chatting with two models over HTTP: what they write, what a blind conversation tells, and what a vote leaves."""

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from backbone.sampling import sample
from backbone.sampling_config import SamplingConfig
from labeling_ui.data_model import Judgement
from pipeline.serving.side_by_side import Pair
from tests.pipeline.serving.conftest import Site, open_site
from tests.pipeline.serving.test_limits import until
from tests.shared_base import load


class Scripted:
    """A stand-in for the models: each says its line, in two pieces."""

    def __init__(self, **lines: str) -> None:
        self.lines = lines
        self.asked: list[tuple[Sequence[str], list[str]]] = []

    async def __call__(
        self, person_id: str, models: Sequence[str], messages: Sequence[Mapping[str, Any]], seeds: Sequence[int]
    ) -> Pair:
        self.asked.append((models, [message["content"] for message in messages]))
        return _Said([self.lines[model.replace("-", "_")] for model in models])


class _Said:
    ends = ("stop", "stop")

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts

    async def __aiter__(self) -> AsyncIterator[tuple[str, str]]:
        one, other = self.texts
        yield one[:3], other[:3]
        yield one, other

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def script() -> Scripted:
    return Scripted(base="of the base", round_000="of round 0", champion="of round 1", round_001="of round 1")


@pytest.fixture(scope="module")
def scripted(
    tiny_model: Path, adapters: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory, script: Scripted
) -> Iterator[Site]:
    with open_site(tiny_model, adapters, tmp_path_factory.mktemp("scripted"), write=script) as opened:
        yield opened


def begin(client: httpx.Client, *models: str, blind: bool = False) -> dict[str, Any]:
    answer = client.post("/api/chat/begin", json={"models": models or ("base", "round-000"), "blind": blind})
    assert answer.status_code == 200, answer.text
    return answer.json()


def say(client: httpx.Client, conversation: str, prompt: str = "tell me of the cat") -> list[dict[str, Any]]:
    answer = client.post("/api/chat/say", json={"conversation": conversation, "prompt": prompt})
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def vote(client: httpx.Client, conversation: str, verdict: str = "left", turn: int = 1, **more: Any) -> httpx.Response:
    body = {"conversation": conversation, "turn": turn, "verdict": verdict, **more}
    return client.post("/api/chat/vote", json=body)


def said(site: Site, name: str) -> list[Judgement]:
    who = site.store.annotator(name).id
    return [judgement for judgement in site.store.judgements() if judgement.annotator_id == who]


def test_both_columns_are_what_the_sampler_draws_and_a_vote_is_a_live_judgement(
    site: Site, tiny_model: Path, adapters: Mapping[str, Path]
) -> None:
    with site.visitor("Ann Chats") as client:
        assert client.get("/api/chat").json()["models"] == ["base", "champion", "round-000", "round-001"]
        conversation = begin(client)["conversation"]
        lines = say(client, conversation)
        assert vote(client, conversation, "right", seconds=2.5).json() == {"saved": "taken"}
        assert vote(client, conversation, "left").status_code == 409
    answers = lines[-1]["answers"]
    assert len(lines) > 1
    (judgement,) = said(site, "Ann Chats")
    candidates = {one.id: one for one in site.store.candidates()}
    shown = [candidates[id] for id in judgement.shown]
    assert [one.response for one in shown] == answers["texts"]
    assert (judgement.side, judgement.seconds, judgement.answer.winner) == ("right", 2.5, shown[1].id)
    base = load(tiny_model)
    base.load_adapter("policy", adapters["round-000"])
    for one, adapter in zip(shown, (None, "policy"), strict=True):
        assert one.source["live"] is True
        assert one.source["blind"] is False
        with base.using(adapter):
            (drawn,) = sample(
                base, [base.renderer.prompt_ids([{"role": "user", "content": "tell me of the cat"}])],
                SamplingConfig(max_new_tokens=24), seed=one.source["seed"],
            )  # fmt: skip
        assert base.renderer.text(drawn.response_ids) == one.response
    assert [one.source["served_as"] for one in shown] == ["base", "round-000"]
    assert [one.source["adapter"] for one in shown] == [None, "round-000/policy"]
    (task,) = [task for task in site.store.tasks() if task.id == judgement.task_id]
    assert (task.campaign, task.reserved_for) == ("chat", judgement.annotator_id)
    assert site.store.verify() == []


def test_votes_go_to_the_campaign_that_lets_people_type_prompts(
    tiny_model: Path, adapters: Mapping[str, Path], tmp_path: Path, script: Scripted
) -> None:
    from tests.labeling_ui.pages import fill_kind

    with open_site(tiny_model, adapters, tmp_path, write=script) as opened:
        fill_kind(opened.store, "pairwise", live=True)
        with opened.visitor("Ann") as client:
            conversation = begin(client)["conversation"]
            for turn, verdict in enumerate(("tie", "both_bad"), start=1):
                say(client, conversation, f"is it a {verdict}?")
                vote(client, conversation, verdict, turn)
        assert [one.answer.verdict for one in said(opened, "Ann")] == ["tie", "both_bad"]
        assert {task.campaign for task in opened.store.tasks() if task.reserved_for} == {"main"}


def test_nothing_that_is_sent_before_the_reveal_depends_on_the_sides(scripted: Site, script: Scripted) -> None:
    """Whichever model is on the left, the same bytes are sent, if both say the same length."""
    script.lines |= {"base": "all the same", "round_000": "all the same"}
    told: dict[Sequence[str], set[str]] = {}
    with scripted.visitor("Ben") as client:
        for _ in range(24):
            begun = begin(client, blind=True)
            assert begun["models"] is None
            conversation = begun["conversation"]
            answer = client.post("/api/chat/say", json={"conversation": conversation, "prompt": "hello"})
            heads = {name: value for name, value in answer.headers.items() if name != "date"}
            sent = json.dumps([begun, answer.text, heads]).replace(conversation, "")
            told.setdefault(script.asked[-1][0], set()).add(sent)
            assert client.post("/api/chat/reveal", json={"conversation": conversation}).json() == {
                "models": list(script.asked[-1][0])
            }
    assert set(told) == {("base", "round-000"), ("round-000", "base")}
    assert len(set.union(*told.values())) == 1
    script.lines |= {"base": "of the base", "round_000": "of round 0"}


def test_a_blind_vote_names_the_model_that_was_on_its_side(scripted: Site, script: Scripted) -> None:
    seen = set()
    with scripted.visitor("Cid") as client:
        for number in range(8):
            conversation = begin(client, blind=True)["conversation"]
            texts = say(client, conversation, f"hello {number}")[-1]["answers"]["texts"]
            assert vote(client, conversation, "right").json() == {"saved": "taken"}
            seen.add(texts[1])
            judgement = said(scripted, "Cid")[-1]
            (winner,) = [one for one in scripted.store.candidates() if one.id == judgement.answer.winner]
            assert judgement.side == "right"
            assert winner.response == texts[1] == script.lines[winner.source["served_as"].replace("-", "_")]
            assert winner.source["blind"] is True
    assert len(seen) == 2, "one in 128 that all are on one side"


def test_a_conversation_goes_on_with_the_preferred_answer(scripted: Site, script: Scripted) -> None:
    with scripted.visitor("Dee") as client:
        conversation = begin(client)["conversation"]
        for number, verdict in enumerate(("right", "left", None)):
            say(client, conversation, f"question {number}")
            if verdict:
                assert vote(client, conversation, verdict, number + 1).status_code == 200
    assert script.asked[-1][1] == ["question 0", "of round 0", "question 1", "of the base", "question 2"]
    prompts = {len(prompt.messages) for prompt in scripted.store.prompts()}
    assert {1, 3} <= prompts


def test_equal_answers_are_said_to_be_equal_and_take_no_vote(scripted: Site) -> None:
    with scripted.visitor("Eve") as client:
        conversation = begin(client, "champion", "round-001")["conversation"]
        assert say(client, conversation)[-1]["answers"]["equal"]
        answer = vote(client, conversation)
        assert (answer.status_code, "nothing to compare" in answer.text) == (422, True)


def test_a_conversation_is_its_owners_alone(scripted: Site) -> None:
    with scripted.visitor("Fay") as fay, scripted.visitor("Gus") as gus:
        conversation = begin(fay, blind=True)["conversation"]
        say(fay, conversation)
        for path, body in (("say", {"prompt": "x"}), ("vote", {"verdict": "left", "turn": 1}), ("reveal", {})):
            answer = gus.post(f"/api/chat/{path}", json={"conversation": conversation, **body})
            assert answer.status_code == 404, path
        assert vote(fay, conversation).status_code == 200
        for _ in range(21):
            begin(fay)
        assert vote(fay, conversation).status_code == 404  # the oldest was forgotten


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("begin", {"models": ["base", "nobody"], "blind": True}, 422),
        ("begin", {"models": ["base"], "blind": True}, 422),
        ("say", {"prompt": "  "}, 422),
        ("say", {"prompt": "x" * 8001}, 422),
        ("say", {"prompt": "x", "model": "base"}, 422),
        ("vote", {"verdict": "left", "turn": 1}, 409),
        ("vote", {"verdict": "both", "turn": 1}, 422),
        ("vote", {"verdict": "left"}, 422),
    ],
)
def test_what_makes_no_sense_is_refused(scripted: Site, path: str, body: dict[str, Any], status: int) -> None:
    with scripted.visitor("Hal") as client:
        given = body if path == "begin" else {"conversation": begin(client)["conversation"], **body}
        answer = client.post(f"/api/chat/{path}", json=given)
        assert answer.status_code == status
        assert answer.json()["detail"]


def test_a_session_does_not_open_the_endpoint_nor_a_key_the_page(site: Site) -> None:
    with site.visitor("Ida Chats") as client:
        assert client.get("/v1/models").status_code == 401
    headers = {"authorization": f"Bearer {site.key('Ann')}"}
    with httpx.Client(base_url=site.address, timeout=60, headers=headers) as client:
        for method, path in (("GET", "/api/chat"), ("POST", "/api/chat/begin"), ("GET", "/"), ("GET", "/page/chat.js")):
            assert client.request(method, path).status_code == 401
        assert client.get("/", headers={"accept": "text/html"}).headers["location"] == "/sign-in"
        assert client.get("/sign-in").status_code == 200


def test_requests_from_other_sites_are_refused_and_nothing_can_be_framed(site: Site) -> None:
    with site.visitor("Jan Chats") as client:
        body = {"models": ["base", "round-000"], "blind": False}
        answer = client.post("/api/chat/begin", json=body, headers={"origin": "https://elsewhere.example"})
        assert answer.status_code == 403
        policy = client.get("/").headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'self'" in policy
        for path in ("/gradio_api/file=/etc/passwd", "/gradio_api/info", "/gradio_api/upload", "/admin"):
            assert client.get(path).status_code in (403, 404), path


def test_one_who_goes_away_frees_both_places_and_can_ask_again(site: Site, hold: Callable[[], None]) -> None:
    with site.visitor("Kim Chats") as client:
        conversation = begin(client)["conversation"]
        body = {"conversation": conversation, "prompt": "tell me of the cat"}
        with client.stream("POST", "/api/chat/say", json=body) as answer:
            lines = answer.iter_lines()
            next(lines)
            assert site.engine.places == (2, 0)
            assert client.post("/api/chat/say", json=body).status_code == 409
        until(lambda: site.engine.places == (0, 0))
        hold()
        assert "answers" in say(client, conversation)[-1]


def test_what_does_not_fit_is_told_and_the_conversation_goes_on(site: Site) -> None:
    with site.visitor("Lea Chats") as client:
        conversation = begin(client)["conversation"]
        answer = client.post("/api/chat/say", json={"conversation": conversation, "prompt": "cat " * 400})
        assert (answer.status_code, "exceeds the context" in answer.text) == (422, True)
        assert "answers" in say(client, conversation)[-1]
