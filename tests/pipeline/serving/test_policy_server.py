"""A policy that is tuned on what a server samples: what is drawn and learned is right, and what goes wrong is told."""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from backbone.adapter_folder import WEIGHTS
from backbone.adapters import SharedBase
from backbone.logprobs import response_logprobs
from backbone.sampling import Draw, Sample, sample
from backbone.sampling_config import SamplingConfig
from backbone.tokens import Ids
from foundation.errors import UserError
from foundation.files import Row, content_id
from pipeline import stages
from pipeline.config.sampler import SamplerConfig
from pipeline.preflight.at_start import refuse_ahead
from pipeline.sampling.drawing import policy_drawing
from policy.native.rollout import Rollout, roll_out
from policy.native.train import train_policy
from tests.pipeline import tiny
from tests.pipeline.serving.between import answer, opened
from tests.pipeline.serving.conftest import Site, open_site
from tests.policy.tiny_run import CONFIG, PROMPTS, LowIds
from tests.shared_base import add_random_adapter
from tests.shared_base import load as load_base
from tests.suite import forked

LIMITS = ("serve.at_once=2", "serve.waiting=100", "serve.of_one=100", "serve.per_minute=100000")
TRAINED = CONFIG.model_copy(update={"steps": 3, "learning_rate": 0.05})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server loads adapters from, and where the tests' runs are."""
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def server(
    tiny_model: Path, adapters: Mapping[str, Path], root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    given = (*LIMITS, f"serve.adapters_below={root}")
    with open_site(tiny_model, {"round-001": adapters["round-001"]}, tmp_path_factory.mktemp("site"), *given) as opened:
        yield opened


@pytest.fixture(autouse=True)
def key(server: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", server.key("Ann"))


@pytest.fixture
def folder(root: Path, request: pytest.FixtureRequest) -> Path:
    """The folder of a test's training."""
    path = root / content_id(request.node.name)
    path.mkdir()
    return path


def drawing(address: str, folder: Path, **more: Any) -> Draw:
    draw = policy_drawing(SamplerConfig(endpoint=f"{address}/v1", model="base", **more), folder)
    assert draw is not None
    return draw


def as_the_server(base: SharedBase, adapter: str | None, prompts: Sequence[Ids], config: SamplingConfig, **given: Any
                  ) -> list[Sample]:  # fmt: skip
    """What the server draws, drawn here."""
    found = []
    for prompt, (ids, row) in enumerate(zip(prompts, given["rows"], strict=True)):
        seed = int(content_id(given["seed"], row), 16) % 2**31
        with base.using(adapter), torch.no_grad():
            drawn = sample(base, [ids], config, group=given["group"], seed=seed)
            own = response_logprobs(base, [ids] * len(drawn), [one.response_ids for one in drawn]).logprobs
        found += [
            one._replace(prompt=prompt, logprobs=row[: len(one.logprobs)].tolist())
            for one, row in zip(drawn, own, strict=True)
        ]
    return found


def rolled_out(base: SharedBase, draw: Draw | None, temperature: float) -> Rollout:
    sampling, rows = SamplingConfig(max_new_tokens=8, temperature=temperature), [0, 3, 6, 9]
    return roll_out(
        base,
        "policy",
        LowIds(),
        PROMPTS[:4],
        sampling,
        group=3,
        seed=5,
        rows=rows,
        micro_batch=5,
        merge=False,
        draw=draw,
    )


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_ids_and_log_probabilities_are_those_that_the_policy_has_here(
    server: Site, tiny_model: Path, folder: Path, temperature: float
) -> None:
    base = load_base(tiny_model)
    add_random_adapter(base, "policy", seed=9, trainable=True)
    found = rolled_out(base, drawing(server.address, folder), temperature)
    wanted = rolled_out(base, as_the_server, temperature)
    assert found.response_ids == wanted.response_ids
    for adapter, logprobs in [("policy", found.logprobs), (None, found.ref_logprobs)]:
        with base.using(adapter), torch.no_grad():
            own = response_logprobs(base, found.prompt_ids, found.response_ids, temperature).logprobs
        torch.testing.assert_close(logprobs, own, atol=1e-4, rtol=0)
    assert (found.logprobs - found.ref_logprobs).abs().max() > 0.1
    if temperature == 1:
        assert found.mismatch is None  # the update compares, and weighs, with what the server told
    else:
        assert found.mismatch is not None
        assert found.mismatch.max() < 1e-4
    assert list(folder.iterdir()) == []
    assert server.client().models.list().model_dump_json().count("policy") == 0


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_a_server_with_other_arithmetic_is_corrected_at_temperature_1_and_logged_at_any(
    tiny_model: Path, folder: Path, temperature: float
) -> None:
    """Its log-probabilities are off by 0.03; at another temperature those of sampling are computed here."""

    def off(*given: Any, **named: Any) -> list[Sample]:
        drawn = as_the_server(*given, **named)
        return [one._replace(logprobs=[logprob - 0.03 for logprob in one.logprobs]) for one in drawn]

    base = load_base(tiny_model)
    add_random_adapter(base, "policy", seed=9, trainable=True)
    found, plain = rolled_out(base, off, temperature), rolled_out(base, as_the_server, temperature)
    if temperature == 1:
        torch.testing.assert_close(found.logprobs + 0.03 * found.mask, plain.logprobs)
    else:
        torch.testing.assert_close(found.logprobs, plain.logprobs)
    config = TRAINED.model_copy(update={"temperature": temperature, "steps": 1})
    row = train_policy(config, load_base(tiny_model), LowIds(), PROMPTS, folder, seed=3, draw=off)[0]
    assert row["logprob_mismatch"] == pytest.approx(0.03, abs=1e-4)


def test_training_through_a_server_is_training_on_what_it_draws(server: Site, tiny_model: Path, folder: Path) -> None:
    """At every step with the adapter as it is then."""
    logs = {}
    for name, draw in [("here", as_the_server), ("there", drawing(server.address, folder))]:
        logs[name] = train_policy(TRAINED, load_base(tiny_model), LowIds(), PROMPTS, folder / name, seed=3, draw=draw)
    one, other = (load_file(folder / name / WEIGHTS) for name in logs)
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], atol=1e-4, rtol=0)  # a step of Adam moves a weight by 5e-2
    for here, there in zip(*logs.values(), strict=True):
        for figure in ("score", "kl", "loss", "length", "entropy"):
            assert here[figure] == pytest.approx(there[figure], abs=1e-4), figure
    assert logs["there"][-1]["logprob_mismatch"] < 1e-4
    assert abs(logs["there"][-1]["kl"]) > 0.01  # it has moved, and the server with it


@pytest.mark.parametrize("lie", ["base", "round-001"])
def test_a_server_that_answers_by_something_else_than_the_adapter_is_told(
    server: Site, tiny_model: Path, folder: Path, lie: str
) -> None:
    """Not even a little: the adapter moves the log-probabilities by far less than rounding in 16 bits does."""

    def lies(handler: BaseHTTPRequestHandler, body: bytes) -> bool:
        asked = json.loads(body)
        if "prompt" not in asked:
            return False
        drawn = server.client().completions.with_raw_response.create(
            **{name: asked[name] for name in ("prompt", "n", "seed", "logprobs", "max_tokens", "temperature", "top_p")},
            model=lie, extra_body={"return_token_ids": True},
        )  # fmt: skip
        said = json.loads(drawn.content) | {"model": asked["model"]}
        return answer(handler, 200, json.dumps(said).encode())

    base = load_base(tiny_model)
    add_random_adapter(base, "policy", seed=9, trainable=True)
    for name, value in base.parameters("policy").items():
        value.data.mul_(0.03 if lie == "base" and "lora_B" in name else 1)
    words = {"base": "without the adapter", "round-001": "has another model"}[lie]
    with opened(server) as between:
        between.does = lies
        with pytest.raises(UserError, match=rf'"policy-[0-9a-f]+" ?{words}|{words} as "policy-[0-9a-f]+"'):
            rolled_out(base, drawing(between.address, folder), 1.0)
    assert list(folder.iterdir()) == []


def test_a_server_that_names_another_model_is_told(server: Site, tiny_model: Path, folder: Path) -> None:
    def lies(handler: BaseHTTPRequestHandler, body: bytes) -> bool:
        said = {"model": "round-001", "choices": [{"index": 0}]}
        return "prompt" in json.loads(body) and answer(handler, 200, json.dumps(said).encode())

    base = load_base(tiny_model)
    add_random_adapter(base, "policy", trainable=True)
    with opened(server) as between:
        between.does = lies
        with pytest.raises(UserError, match=r'answers by its model "round-001" where "policy-[0-9a-f]+" was asked'):
            rolled_out(base, drawing(between.address, folder), 1.0)


def test_a_server_that_loads_no_adapters_or_not_from_there_is_told(
    server: Site, site: Site, tiny_model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load_base(tiny_model)
    add_random_adapter(base, "policy", trainable=True)
    with pytest.raises(UserError, match=r"does not load the policy \(status 400, .*sampler\.exchange.*max-lora-rank"):
        rolled_out(base, drawing(server.address, tmp_path), 1.0)
    rolled_out(base, drawing(server.address, tmp_path, exchange=folder), 1.0)
    monkeypatch.setenv("OPENAI_API_KEY", site.key("Ann"))
    with pytest.raises(UserError, match=r"does not load the policy \(status 404, .*serve\.adapters_below"):
        rolled_out(base, drawing(site.address, folder), 1.0)
    assert list(folder.iterdir()) == list(tmp_path.iterdir()) == []


def train_in_two(model: str, folder: str, address: str, key: str) -> None:
    """One of two processes of a training."""
    os.environ["OPENAI_API_KEY"] = key
    torch.set_num_threads(1)
    path = Path(folder)
    train_policy(TRAINED, load_base(Path(model)), LowIds(), PROMPTS, path, seed=3, draw=drawing(address, path))


def test_two_processes_learn_what_one_does(server: Site, tiny_model: Path, folder: Path, tmp_path: Path) -> None:
    train_policy(TRAINED, load_base(tiny_model), LowIds(), PROMPTS, folder / "one", seed=3, draw=as_the_server)
    logs = [tmp_path / "printed-0", tmp_path / "printed-1"]
    given = str(tiny_model), str(folder / "two"), server.address, server.key("Ann")
    (folder / "two").mkdir()
    assert forked.run_two(train_in_two, *given, logs=logs) == [0, 0], [log.read_text() for log in logs]
    one, two = (load_file(folder / name / WEIGHTS) for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], atol=1e-4, rtol=0)


def policy_command(key: str, *arguments: str) -> None:
    """`rlhf policy` of somebody who has a key."""
    os.environ["OPENAI_API_KEY"] = key
    tiny.command(["policy", *arguments])


def test_by_the_command_a_server_that_dies_loses_nothing_and_a_changed_sampler_begins_anew(
    server: Site, finished: Path, tiny_settings: list[str], folder: Path
) -> None:
    def command(run: Path, address: str, *more: str) -> tuple[int, str]:
        given = [*tiny_settings, f"sampler.endpoint={address}/v1", "sampler.model=base", "sampler.patience=0.1", *more]
        told = [word for setting in given for word in ("--set", setting)]
        log = folder / "printed"
        status = forked.run(policy_command, server.key("Ann"), "--run", str(run), *told, log=log)
        return status, " ".join(log.read_text().split())

    def made(run: Path) -> tuple[list[Row], dict[str, bytes]]:
        policy = run / "round-000" / "policy"
        weights = {name: value.numpy().tobytes() for name, value in load_file(policy / WEIGHTS).items()}
        rows = tiny.rows(policy / "log.jsonl")
        return [{name: row[name] for name in ("score", "kl", "loss")} for row in rows], weights

    whole, killed = (shutil.copytree(finished, folder / name) for name in ("whole", "killed"))
    status, told = command(whole, server.address)
    assert (status, "sampled_by was unset, is a server" in told) == (0, True), told
    assert made(whole) != made(finished)
    assert not list(whole.rglob(".sampled-*"))

    def dead(handler: BaseHTTPRequestHandler, body: bytes) -> bool:
        if between.answered < 2 * 6 + 1:  # a step loads, asks four prompts, unloads: it dies after the third has loaded
            return False
        handler.close_connection = True
        return True

    with opened(server) as between:
        between.does = dead
        status, told = command(killed, between.address)
        assert status == 2
        assert re.search("step 3: the sampling server at .* does not answer .*The last checkpoint is kept", told), told
    status, told = command(killed, server.address)  # at another address, too, it goes on
    assert (status, "going on where it was interrupted" in told) == (0, True), told
    assert made(killed) == made(whole)
    assert not list(killed.rglob(".sampled-*"))

    overrides = [*tiny_settings, "sampler.endpoint=http://127.0.0.1:9/v1", "sampler.model=other"]
    assert stages.policy(*tiny.opened(whole, overrides)).skipped  # which server it was does not count
    run, config, console = tiny.opened(whole, tiny_settings)
    stages.policy(run, config, console)
    assert "sampled_by was a server, is unset" in tiny.printed(console)
    assert made(whole) == made(finished)


def test_weights_that_a_server_cannot_give_are_refused_before_a_model_is_loaded(
    finished: Path, tiny_settings: list[str], folder: Path
) -> None:
    run = shutil.copytree(finished, folder / "run")
    more = ["sampler.endpoint=http://127.0.0.1:9/v1", "sampler.model=base", "policy.importance_cap=2"]
    opened_run, config, console = tiny.opened(run, [*tiny_settings, *more])
    words = r"importance_cap=2.*policy\.temperature is 0\.8\. Set policy\.temperature=1"
    with pytest.raises(UserError, match=words):
        stages.policy(opened_run, config, console)
    with pytest.raises(UserError, match=words):  # as the first stages ask
        refuse_ahead(opened_run, config)
