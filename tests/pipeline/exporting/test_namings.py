"""Whatever people are called: what they wrote about themselves stays here, and texts that may name them are listed."""

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labeling_ui.data_model import Answer, Candidate, Judgement, Message, Prompt, Task
from labeling_ui.people.account_rows import tidy_name
from labeling_ui.people.accounts import Accounts
from pipeline.config.config import Config, load_config
from pipeline.exporting import hub
from pipeline.exporting.namings import namings
from pipeline.runs.folder import Run
from pipeline.runs.label_store import label_store

WORDS = ["the", "River", "Will", "May Day", 'Ann "Q" O\'Neil', "Zoë", "Zoe\u0308 B", "王伟", "Jean-Luc", "back\\slash"]
WORDS += ["<b>Bob</b>", "a.*", "`Tick`", "x", "Zelda  Q. Fitzgerald"]
NAMES = st.sampled_from(WORDS) | st.text(st.characters(categories=["L", "N", "P", "Zs"]), min_size=1, max_size=20)
PLACES = ("nowhere", "prompt", "response", "rewrite", "instructions")
number = itertools.count()


@given(NAMES.filter(lambda name: bool(tidy_name(name))), st.sampled_from(PLACES))
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_file_tells_who_somebody_is_unless_it_is_listed(
    tmp_path_factory: pytest.TempPathFactory, name: str, place: str
) -> None:
    folder = tmp_path_factory.mktemp("people")
    laid, listed = published(folder, name, {place: f"ask {name} about it"})
    for path in (path for path in laid.rglob("*") if path.is_file()):
        text = path.read_text(encoding="utf-8")
        assert "someone@example" not in text
        assert "because it is mine" not in text
        for row in map(json.loads, text.splitlines()) if path.suffix == ".jsonl" else []:
            if any(f"ask {name} about it" in each["content"] for side in SIDES for each in row[side]):
                assert any(line.startswith(f"labels/{path.name}, line") for line in listed)
    assert any("labels/README.md, line" in line for line in listed) >= (place == "instructions")


SIDES = ("prompt", "chosen", "rejected")


@pytest.mark.parametrize(
    "text", ["ask Zelda", "ask ZELDA  Q.\nFitzgerald", "ask mr. fitzgerald", "write to nobody@example.net"]
)
def test_parts_of_a_name_and_addresses_of_strangers_are_listed(text: str, tmp_path: Path) -> None:
    _, listed = published(tmp_path, "Zelda Q. Fitzgerald", {"prompt": text})
    assert [line.partition(":")[0] for line in listed] == ["labels/preferences.jsonl, line 1"] * len(listed)
    assert listed
    assert published(tmp_path, "Zelda Q. Fitzgerald", {"prompt": "ask her"})[1] == []


def published(folder: Path, name: str, texts: dict[str, str]) -> tuple[Path, list[str]]:
    """What would be published of one judgement by this person, and what is listed of it."""
    settings = ["model=demo", "export.labels_license=mit"]
    config: Config = load_config(None, settings, {})
    label = config.label.model_copy(update={"instructions": texts.get("instructions", "Which is better?")})
    config = config.model_copy(update={"label": label})
    run = Run(folder / f"run-{next(number)}", seed=0, say=print)
    with label_store(run, config) as store:
        person = Accounts(store.database).add(name, email="someone@example.org")
        prompt = Prompt((Message(role="user", content=texts.get("prompt", "how?")),))
        good, bad = (Candidate(prompt.id, text) for text in (texts.get("response", "so"), "not so"))
        store.add_campaign(config.label.campaign)
        store.add_prompts([prompt])
        store.add_candidates([good, bad])
        task = Task(prompt.id, (good.id, bad.id), config.label.name)
        store.add_tasks([task], 1)
        said = f"{name} <someone@example.org>: because it is mine"
        answer = Answer("preferred", good.id, 3, rationale=said, rewrite=texts.get("rewrite", ""))
        store.record(Judgement(task.id, person.id, task.candidates, answer))
    exported = folder / "export"
    exported.mkdir(exist_ok=True)
    (exported / "adapter_config.json").write_text('{"base_model_name_or_path": "a/base"}')
    laid = folder / f"laid-{next(number)}"
    hub.lay_out(run, config, exported, laid, "someone/mine", ["labels"], None)
    return laid, list(namings(run, config, laid))
