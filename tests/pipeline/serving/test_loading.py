"""Adapters that a server loads while it runs, by vLLM's interface: only from one folder, and off by default."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from backbone.adapters import SharedBase
from backbone.sampling import sample
from backbone.sampling_config import SamplingConfig
from tests.pipeline.serving.conftest import Site, open_site

PROMPT = [1, 5, 6, 7, 8]
SAMPLING = SamplingConfig(max_new_tokens=16, temperature=0.9)
Post = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exchange")


@pytest.fixture(scope="module")
def loading(
    tiny_model: Path, adapters: Mapping[str, Path], exchange: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    given = f"serve.adapters_below={exchange}", "serve.per_minute=100000"
    with open_site(tiny_model, {"round-001": adapters["round-001"]}, tmp_path_factory.mktemp("site"), *given) as opened:
        yield opened


@pytest.fixture
def post(loading: Site) -> Iterator[Post]:
    """Ask as Ann's program; what a test has loaded is unloaded."""
    headers = {"authorization": f"Bearer {loading.key('Ann')}"}
    with httpx.Client(base_url=loading.address, timeout=60, headers=headers) as client:

        def send(path: str, **body: Any) -> httpx.Response:
            return client.post(f"/v1/{path}", json=body)

        yield send
        for model in client.get("/v1/models").json()["data"]:
            send("unload_lora_adapter", lora_name=model["id"])


def drawn(post: Post, model: str) -> httpx.Response:
    asked = {"prompt": PROMPT, "max_tokens": 16, "temperature": 0.9, "seed": 7, "return_token_ids": True}
    return post("completions", model=model, **asked)


def ids_of(answer: httpx.Response) -> list[int]:
    return list(answer.json()["choices"][0]["token_ids"])


def wanted(base: SharedBase, adapter: str) -> list[int]:
    with base.using(adapter):
        return sample(base, [PROMPT], SAMPLING, seed=7)[0].response_ids


def test_an_adapter_comes_is_replaced_and_goes(
    post: Post, base: SharedBase, adapters: Mapping[str, Path], exchange: Path
) -> None:
    for name in adapters:
        shutil.copytree(adapters[name], exchange / "step", dirs_exist_ok=True)
        asked = {"lora_name": "now", "lora_path": str(exchange / "step"), "load_inplace": True}
        assert post("load_lora_adapter", **asked).status_code == 200
        assert ids_of(drawn(post, "now")) == wanted(base, name)
    assert wanted(base, "round-000") != wanted(base, "round-001")
    assert post("load_lora_adapter", lora_name="now", lora_path="step").status_code == 400  # not in place
    assert post("load_lora_adapter", lora_name="too", lora_path="step").status_code == 200
    assert post("unload_lora_adapter", lora_name="now").status_code == 200
    assert drawn(post, "now").status_code == 404
    assert ids_of(drawn(post, "too")) == ids_of(drawn(post, "round-001")) == wanted(base, "round-001")


def test_adapters_are_loaded_from_below_one_folder_alone(
    post: Post, loading: Site, adapters: Mapping[str, Path], exchange: Path, tmp_path: Path
) -> None:
    outside = adapters["round-000"]
    (exchange / "link").symlink_to(outside)
    (exchange / "step").mkdir(exist_ok=True)
    places = [str(outside), f"{exchange}/../{outside.name}", "..", ".", "", str(exchange), "link", "/etc", "a" * 5000,
              "step/" + "b" * 300, f"{exchange}/step\0", str(tmp_path)]  # fmt: skip
    for place in places:
        answer = post("load_lora_adapter", lora_name="sly", lora_path=place)
        assert answer.status_code == 400, place
    told = {post("load_lora_adapter", lora_name="sly", lora_path=place).text for place in ("/etc", "/nowhere", "link")}
    assert len(told) == 1  # it tells nobody what else is on the machine
    assert "sly" not in loading.client().models.list().model_dump_json()


def test_what_is_no_adapter_of_this_base_or_takes_a_name_is_refused(
    post: Post, base: SharedBase, adapters: Mapping[str, Path], exchange: Path
) -> None:
    good = shutil.copytree(adapters["round-000"], exchange / "good")
    damaged = shutil.copytree(good, exchange / "damaged")
    (damaged / "adapter_model.safetensors").write_bytes(b"no")
    (exchange / "empty").mkdir()
    for name, path, words in [
        ("new", "damaged", "cannot be read"), ("new", "empty", "is not an adapter folder"),
        ("new", "none", "from folders below"), ("base", "good", "already, and it stays"),
        ("round-001", "good", "already, and it stays"), ("a b", "good", "lora_name"),
    ]:  # fmt: skip
        answer = post("load_lora_adapter", lora_name=name, lora_path=path, load_inplace=True)
        assert (answer.status_code, words in answer.text) == (400, True), answer.text
    assert post("unload_lora_adapter", lora_name="round-001").status_code == 404
    assert ids_of(drawn(post, "round-001")) == wanted(base, "round-001")


def test_an_adapter_that_the_server_may_not_read_is_no_fault_of_the_server(
    post: Post, base: SharedBase, adapters: Mapping[str, Path], exchange: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    shutil.copytree(adapters["round-000"], exchange / "denied")
    monkeypatch.setattr("backbone.adapter_folder.load_file", denied)
    answer = post("load_lora_adapter", lora_name="new", lora_path="denied")
    assert (answer.status_code, "cannot be read ([Errno 13]" in answer.text) == (400, True), answer.text
    assert ids_of(drawn(post, "round-001")) == wanted(base, "round-001")


def test_only_so_many_are_in_memory(post: Post, adapters: Mapping[str, Path], exchange: Path) -> None:
    shutil.copytree(adapters["round-000"], exchange / "many")
    found = [post("load_lora_adapter", lora_name=f"a{number}", lora_path="many") for number in range(9)]
    assert [one.status_code for one in found] == [200] * 8 + [400]
    again = post("load_lora_adapter", lora_name="a7", lora_path="many", load_inplace=True)
    assert again.status_code == 200


def test_what_is_answered_by_an_adapter_that_goes_breaks_off_and_nothing_else_does(
    post: Post, loading: Site, base: SharedBase, adapters: Mapping[str, Path], exchange: Path, hold: Callable[[], None]
) -> None:
    shutil.copytree(adapters["round-000"], exchange / "going")
    assert post("load_lora_adapter", lora_name="going", lora_path="going").status_code == 200
    stream = loading.client().completions.create(
        model="going", prompt=PROMPT, max_tokens=16, seed=7, stream=True, temperature=0.9
    )
    next(stream)
    assert post("unload_lora_adapter", lora_name="going").status_code == 200
    with pytest.raises(Exception, match="unloaded while it answered"):
        list(stream)
    hold()
    assert ids_of(drawn(post, "round-001")) == wanted(base, "round-001")


@pytest.mark.parametrize("path", ["load_lora_adapter", "unload_lora_adapter"])
def test_nothing_is_loaded_unless_that_is_switched_on_nor_without_a_key(site: Site, loading: Site, path: str) -> None:
    body = {"lora_name": "round-000", "lora_path": "step"}
    headers = {"authorization": f"Bearer {site.key('Ann')}"}
    assert httpx.post(f"{site.address}/v1/{path}", json=body, headers=headers).status_code == 404
    assert httpx.post(f"{loading.address}/v1/{path}", json=body).status_code == 401
