"""Prompts from a file, candidates that survive a kill, and pairs worth judging."""

import json
from pathlib import Path
from typing import Any

import pytest

from backbone.adapters import SharedBase
from backbone.exactness import load_shared_base
from backbone.sampling_config import SamplingConfig
from foundation.errors import UserError
from foundation.files import write_jsonl
from foundation.sizes import Sizes
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Prompt
from pipeline.collection.candidates import collect, tasks_of
from pipeline.collection.prompts import prompt_row, read_prompts, short_enough
from pipeline.config.collect import CollectConfig
from pipeline.sampling import drawing
from pipeline.sampling.drawing import draw_here
from tests.pipeline.tiny import TOPICS, ask, rows

CONFIG = CollectConfig(candidates=3, sampling=SamplingConfig(max_new_tokens=6))
SOURCE = {"model": "tiny", "adapter": None, "round": 0}


@pytest.fixture(scope="module")
def base(tiny_model: Path) -> SharedBase:
    return load_shared_base(str(tiny_model), "float32", "cpu")


def asked(number: int = 20) -> list[dict[str, Any]]:
    return [prompt_row(Prompt(tuple(ask(f"tell me of the {topic}"))), "train") for topic in TOPICS[:number]]


def run(base: SharedBase, folder: Path, advance: Any = lambda steps: None) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    return collect(CONFIG, base, asked(), folder, adapter=None, source=SOURCE, seed=3, advance=advance, draw=draw_here)


# --- prompts ---


def test_a_prompt_without_a_split_gets_the_same_one_every_time(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    write_jsonl(file, [{"prompt": ask(f"question {number}")} for number in range(400)])
    once = {row["id"]: row["split"] for row in read_prompts(file, 0.25)}
    held_out = sum(split == "held_out" for split in once.values())
    assert 70 < held_out < 130  # 100 expected, standard deviation 8.7
    write_jsonl(file, [{"prompt": ask(f"question {number}")} for number in reversed(range(200))])
    assert all(once[row["id"]] == row["split"] for row in read_prompts(file, 0.25))


def test_the_files_own_split_references_and_further_fields_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    given = [
        {"prompt": ask("one"), "split": "held_out", "references": ["1"]},
        {"prompt": ask("two"), "split": "train", "tests": ["assert True"], "level": 3},
        {"prompt": ask("two"), "split": "train"},
    ]
    write_jsonl(file, given)
    found = read_prompts(file, 0.5)
    assert [{key: value for key, value in row.items() if key != "id"} for row in found] == given[:2]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"prompt": []}', '"prompt" must be a list of messages that ends with a user turn'),
        ('{"prompt": [{"role": "assistant", "content": "yes"}]}', "ends with a user turn"),
        ('{"prompt": [{"role": "tool", "content": "x"}, {"role": "user", "content": "x"}]}', 'needs a "role"'),
        ('{"prompt": [{"role": "user", "content": "  "}]}', '"content" that is not empty'),
        ('{"prompt": ["hello", {"role": "user", "content": "x"}]}', 'needs a "role"'),
        ('{"prompt": [{"role": "user", "content": "x"}], "split": "test"}', '"split" must be "train" or "held_out"'),
        ('{"prompt": [{"role": "user", "content": "x"}], "references": "one"}', '"references" must be a list'),
    ],
)
def test_a_malformed_prompt_is_named_by_line_and_field(tmp_path: Path, line: str, told: str) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps({"prompt": ask("fine")}) + "\n" + line + "\n")
    with pytest.raises(UserError, match=rf"prompts\.jsonl, line 2: .*{told}"):
        read_prompts(file, 0.01)


@pytest.mark.parametrize(("split", "purpose"), [("held_out", "train on"), ("train", "evaluate on")])
def test_a_file_with_nothing_in_one_split_is_refused(tmp_path: Path, split: str, purpose: str) -> None:
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": ask(text), "split": split} for text in ("one", "two")])
    with pytest.raises(UserError, match=f"no prompt to {purpose}"):
        read_prompts(tmp_path / "prompts.jsonl", 0.2)


@pytest.mark.parametrize("held_out", [0.001, 0.999])
def test_the_hash_leaves_no_split_empty(tmp_path: Path, held_out: float) -> None:
    file = tmp_path / "prompts.jsonl"
    write_jsonl(file, [{"prompt": ask(f"question {number}")} for number in range(5)])
    found = [row["split"] for row in read_prompts(file, held_out)]
    assert sorted(found) in (["held_out"] + ["train"] * 4, ["held_out"] * 4 + ["train"])
    write_jsonl(file, [{"prompt": ask("one")}, {"prompt": ask("two"), "split": "train"}])
    assert [row["split"] for row in read_prompts(file, held_out)] == ["held_out", "train"]


def test_prompts_of_one_conversation_are_in_one_split(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    more = [{"role": "assistant", "content": "yes"}, *ask("why?")]
    prompts = [ask(f"question of number {number}") for number in range(60)]
    write_jsonl(file, [{"prompt": prompt} for one in prompts for prompt in (one, [*one, *more])])
    found = [row["split"] for row in read_prompts(file, 0.3)]
    assert found[::2] == found[1::2]
    write_jsonl(file, [{"prompt": one} for one in prompts])
    assert found[::2] == [row["split"] for row in read_prompts(file, 0.3)]  # as by prompt, where none goes on
    write_jsonl(
        file, [{"prompt": prompts[0], "split": "held_out"}, {"prompt": [*prompts[0], *more]}, {"prompt": ask("x")}]
    )
    assert [row["split"] for row in read_prompts(file, 0.001)] == ["held_out", "held_out", "train"]


def test_a_file_of_one_conversation_is_refused_with_what_would_help(tmp_path: Path) -> None:
    header = [*ask("Answer as in the examples."), {"role": "assistant", "content": "yes"}]
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": [*header, *ask(f"q{number}")]} for number in range(5)])
    with pytest.raises(UserError, match=r"one conversation\. Add others.*system message"):
        read_prompts(tmp_path / "prompts.jsonl", 0.2)


def test_a_prompt_must_leave_room_for_its_response(base: SharedBase) -> None:
    one = asked(1)
    length = len(base.renderer.prompt_ids(one[0]["prompt"]))
    assert short_enough(one, base, CONFIG.model_copy(update={"max_prompt_tokens": length}), 6, False) == one
    assert short_enough(one, base, CONFIG.model_copy(update={"max_prompt_tokens": length - 1}), 6, False) == []
    room = base.renderer.max_length - length
    for new_tokens, kept in ((room, one), (room + 1, [])):
        assert short_enough(one, base, CONFIG, new_tokens, False) == kept


# --- candidates ---


def test_candidates_say_where_they_come_from(base: SharedBase, tmp_path: Path) -> None:
    told: list[int] = []
    figures = run(base, tmp_path, told.append)
    found = rows(tmp_path / "candidates.jsonl")
    assert [row["prompt_id"] for row in found] == [row["id"] for row in asked() for _ in range(3)]
    assert figures["prompts"] == 20
    assert figures["candidates"] == sum(told) == len(found) == 60
    finish = {row["source"].pop("finish_reason") for row in found}
    assert finish <= {"stop", "length"}
    assert all(row["source"] == SOURCE | {"temperature": 0.8, "top_p": 1.0, "seed": 3} for row in found)
    assert list(tmp_path.iterdir()) == [tmp_path / "candidates.jsonl"]


def test_a_collection_is_the_same_however_much_is_sampled_at_once(
    base: SharedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {"cpu": Sizes(), "gpu": Sizes(sample_rows=512, sample_tokens=90), "set": Sizes(sample_rows=7)}
    chunks: dict[str, list[int]] = {name: [] for name in kinds}
    for name, sizes in kinds.items():
        monkeypatch.setattr(base, "sizes", sizes)
        run(base, tmp_path / name, chunks[name].append)
    assert chunks == {"cpu": [0, 48, 12], "gpu": [0, 60], "set": [0, *[6] * 10]}
    whole = (tmp_path / "cpu" / "candidates.jsonl").read_bytes()
    assert all((tmp_path / name / "candidates.jsonl").read_bytes() == whole for name in ("gpu", "set"))


@pytest.mark.parametrize(
    ("lines", "torn", "kept"),
    [(48, b"", 48), (48, b'{"id": "0', 48), (50, b"", 48), (47, b'{"id"', 0)],
    ids=["after a batch", "in the first line of a batch", "between two responses", "in the last line of a batch"],
)
def test_a_killed_collection_goes_on_to_the_same_bytes(
    base: SharedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: int, torn: bytes, kept: int
) -> None:
    run(base, tmp_path / "whole")
    whole = (tmp_path / "whole" / "candidates.jsonl").read_bytes()
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / "candidates.part.jsonl").write_bytes(b"".join(whole.splitlines(True)[:lines]) + torn)
    sampled: list[int] = []

    def sample(base: SharedBase, prompts: list[list[int]], *positional: Any, **named: Any) -> Any:
        sampled.append(len(prompts))
        return original(base, prompts, *positional, **named)

    original = drawing.sample
    monkeypatch.setattr(drawing, "sample", sample)
    run(base, tmp_path / "killed")
    assert (tmp_path / "killed" / "candidates.jsonl").read_bytes() == whole
    assert sum(sampled) == 20 - kept // 3


# --- pairs ---


def candidate(prompt: str, response: str) -> dict[str, Any]:
    return {"prompt_id": prompt, "response": response, "source": {}}


def test_identical_and_empty_responses_are_never_paired() -> None:
    found, tasks = tasks_of(
        [candidate("p", text) for text in ("one", "one", "", "  \n", "two")] + [candidate("q", "one")], 9, 0
    )
    assert sorted((one.prompt_id, one.response) for one in found) == [("p", "one"), ("p", "two"), ("q", "one")]
    text = {one.id: one.response for one in found}
    assert [{text[one] for one in task.candidates} for task in tasks] == [{"one", "two"}]


def test_pairs_are_of_one_prompt_limited_and_always_the_same() -> None:
    given = [candidate(prompt, f"response {number}") for prompt in "pq" for number in range(5)]
    found, tasks = tasks_of(given, 4, 0)
    owner = {one.id: one.prompt_id for one in found}
    assert all(owner[one] == task.prompt_id for task in tasks for one in task.candidates)
    assert [task.prompt_id for task in tasks] == ["p"] * 4 + ["q"] * 4
    assert len({task.id for task in tasks}) == 8
    assert {task.id for task in tasks_of(given[::-1], 4, 0)[1]} == {task.id for task in tasks}
    assert {task.id for task in tasks_of(given, 4, 1)[1]} != {task.id for task in tasks}


def test_a_ranking_campaign_gets_sets_of_different_responses_and_a_rating_campaign_each_response() -> None:
    given = [candidate("p", f"response {number}") for number in range(6)] + [candidate("q", "alone")]
    ranking = Campaign(name="order", kind="ranking", responses=4)
    found, tasks = tasks_of(given, 3, 0, ranking)
    assert [(len(set(task.candidates)), task.prompt_id, task.campaign) for task in tasks] == [(4, "p", "order")] * 3
    assert len({task.id for task in tasks}) == 3
    few = tasks_of(given[:3], 3, 0, ranking)[1]
    assert [len(task.candidates) for task in few] == [3], "with three responses there is one set, of all three"
    rated = tasks_of(given, 3, 0, Campaign(kind="rating"))[1]
    assert sorted(task.candidates for task in rated) == sorted((one.id,) for one in found)


def test_a_response_that_no_database_could_keep_is_left_out() -> None:
    found, tasks = tasks_of([candidate("p", text) for text in ("one", "t\0wo", "three")], 9, 0)
    assert sorted(one.response for one in found) == ["one", "three"]
    assert len(tasks) == 1
