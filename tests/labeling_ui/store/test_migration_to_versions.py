"""A store without versions is upgraded: what was said keeps its scale, and a skip no longer uses its task up."""

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Candidate, Judgement, Message, Prompt, Task
from labeling_ui.store import database
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import Clock, fill_with
from tests.labeling_ui.store.statements import run

pytestmark = pytest.mark.usefixtures("real_migrations")

PROMPT = Prompt((Message(role="user", content="hello"),))
RESPONSE = Candidate(PROMPT.id, "hi")
TASKS = {name: Task(PROMPT.id, (RESPONSE.id,), name) for name in ("stars", "marks")}
SAID = {
    "stars": {"verdict": "rated", "ratings": {"helpful": {RESPONSE.id: 3}}},
    "marks": {"verdict": "skip", "reason": "no idea"},
}


def old_store(url: str) -> None:
    """A store of version 0002: two campaigns of ratings, one judged by ann, the other skipped by her."""
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    engine = sa.create_engine(url)
    rows: list[tuple[str, tuple[object, ...]]] = [
        ("prompts (id, messages, \"references\")", (PROMPT.id, json.dumps(list(PROMPT.messages)), "[]")),
        ("candidates (id, prompt_id, response, source)", (RESPONSE.id, PROMPT.id, "hi", "{}")),
        ("annotators (id, name, simulated, created_at)", ("a1", "ann", False, "2025-01-01")),
    ]  # fmt: skip
    for number, (name, task) in enumerate(TASKS.items(), start=1):
        settings = json.dumps({"name": name, "kind": "rating", "scale": 5})
        shown, said = json.dumps([RESPONSE.id]), json.dumps(SAID[name])
        event = (number, f"k{number}", task.id, "a1", "answer", SAID[name]["verdict"], said, shown, "2025-01-01")
        rows += [
            ("campaigns (name, settings)", (name, settings)),
            ("tasks (id, campaign, prompt_id, candidates, overlap, taken)", (task.id, name, PROMPT.id, shown, 1, 1)),
            ("events (number, key, task_id, annotator_id, action, verdict, answer, shown, created_at)", event),
            ("judgements (task_id, annotator_id, event)", (task.id, "a1", number)),
        ]
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        mark = "%s" if engine.dialect.name == "postgresql" else "?"
        for table, values in rows:
            connection.exec_driver_sql(f"INSERT INTO {table} VALUES ({', '.join([mark] * len(values))})", values)
    engine.dispose()


def test_what_was_said_keeps_its_scale_and_what_was_skipped_is_asked_again(store_url: str) -> None:
    old_store(store_url)
    store = Store(store_url, Clock())
    stars = Campaign(name="stars", kind="rating", scale=5)
    assert [campaign.name for campaign in store.campaigns()] == ["marks", "stars"], "in the order of before"
    assert store.versions()["stars", 1].campaign == stars
    assert store.tasks() == sorted(TASKS.values(), key=lambda task: task.id)
    assert [judgement.answer.verdict for judgement in store.judgements()] == ["rated", "skip"]
    assert store.verify() == []
    assert store.waiting() == 1
    before = store.label_set_hash()
    shown = store.next_assignment(store.annotator("bob").id)
    assert shown is not None
    assert shown.task == TASKS["marks"]
    assert store.record(shown.judgement(Answer("rated", ratings={"helpful": {RESPONSE.id: 5}}))) == "taken"
    after = store.label_set_hash()
    store.add_campaign(stars.model_copy(update={"scale": 9}))
    assert (store.version("stars"), store.label_set_hash() == after, before == after) == (2, True, False)
    store.close()


def test_answers_on_a_short_scale_are_apart_after_the_upgrade(store_url: str) -> None:
    store = Store(store_url, Clock())
    for name, scale in (("short", 3), ("long", 7)):
        (task,) = fill_with(store, Campaign(name=name, kind="rating", scale=scale, aspects=("helpful",)), 1, 1, 2)
        for who, point in (("ann", 1), ("bob", 2)):
            said = Answer("rated", ratings={"helpful": {task.candidates[0]: point}})
            store.record(Judgement(task.id, store.annotator(who).id, task.candidates, said))
    apart = "SELECT campaign, disagreement FROM tasks ORDER BY campaign"
    assert run(store_url, apart) == [("long", 0.0), ("short", 1.0)]
    store.close()
    run(store_url, "UPDATE tasks SET disagreement = 0", "UPDATE alembic_version SET version_num = '0015'")
    Store(store_url, Clock()).close()
    assert run(store_url, apart) == [("long", 0.0), ("short", 1.0)]
