"""Everything that was said goes from one store to another: the same label set, and the same training rows."""

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from foundation.files import Row, write_jsonl
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Assignment
from labeling_ui.exchange.answer_file import is_answer_file, take_answer_file
from labeling_ui.exchange.exports.registry import KINDS, export, rows
from labeling_ui.exchange.imports import import_file
from labeling_ui.store.review.review import TaskReview
from labeling_ui.store.store import Store
from tests.labeling_ui.exporting import every_kind
from tests.labeling_ui.filling import fill, fill_with

BY_HAND = {"prompt": "q", "responses": ["a", "b"], "answer": {"verdict": "tie"}}
RATING = Campaign(
    name="rated", kind="rating", scale=5, aspects=("clear", "kind"), overlap=2, repeat_share=0.2, not_applicable=True
)


def answer(shown: Assignment, turn: int) -> Answer:
    """Every kind of answer in turn."""
    ids = [one.id for one in shown.shown]
    if turn % 7 == 6:
        return Answer("skip", reason=f"“no idea” {turn}")
    if shown.campaign.kind == "ranking":
        return Answer("ranked", ranking=((ids[2],), (ids[0], ids[1])), rationale="=1+1")
    if shown.campaign.kind == "rating":
        given = {
            aspect: {ids[0]: 1 + (turn + n) % shown.campaign.scale} for n, aspect in enumerate(shown.campaign.aspects)
        }
        if turn % 3 == 2:
            del given["kind"]
        return Answer(
            "rated", ratings=given, rationale="because" * (turn % 2), not_applicable=("kind",) * (turn % 3 == 2)
        )
    said = (
        Answer("preferred", ids[0], 1 + turn % 3, rationale="better\r\nby far", rewrite="better still" * (turn % 2)),
        Answer("preferred", ids[1]),
        Answer("tie"),
        Answer("both_bad", rationale="✓ none"),
    )
    return said[turn % 4]


def work(store: Store, name: str, number: int, simulated: bool = False) -> None:
    """Judge so many tasks, and change one's mind now and then."""
    who = store.annotator(name, simulated).id
    for turn in range(number):
        shown = store.next_assignment(who)
        if shown is None:
            return
        given = shown.judgement(answer(shown, turn), seconds=turn / 8, key=f"{name} {turn} {store.version('rated')}")
        given = replace(given, view=("rendered", None)[turn % 2], aids=(None, (), ("length",))[turn % 3])
        store.record(given)
        if turn % 5 == 3:
            edited = answer(shown, turn + 1)
            store.record(replace(given, answer=edited, action="edit", key=f"{given.key} edited"))
        if turn % 11 == 8:
            store.undo(who, f"{given.key} undone")


def review(store: Store) -> None:
    """Decide tasks, one of them twice and one no longer, pause one, and remove one that was judged."""
    door, rex = TaskReview(store.database), store.annotator("rex").id
    judged = {each.task_id for each in store.judgements()}
    ordinary = [each for each in store.tasks() if each.id in judged and each.gold is None and each.repeat_of is None]
    pairs = [each for each in ordinary if each.campaign == "pairs"]
    for task in pairs[:3]:
        door.decide(task.id, rex, Answer("preferred", task.candidates[0], 3, rationale="decided"))
    door.decide(pairs[1].id, rex, Answer("tie"))
    door.reopen(pairs[2].id, rex)
    ranked = next(each for each in ordinary if each.campaign == "a-ranking")
    one, other, third = ranked.candidates
    door.decide(ranked.id, rex, Answer("ranked", ranking=((third,), (one, other))))
    rated = next(each for each in ordinary if each.campaign == "rated" and each.version == 2)
    door.decide(rated.id, rex, Answer("rated", ratings={"clear": {rated.candidates[0]: 9}}))
    assert door.change([pairs[3].id], "pause", rex)
    assert door.change([pairs[4].id], "remove", rex)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store with every kind of judgement, two versions of a campaign, edits, undos, gold, repeats and programs."""
    store = Store(tmp_path_factory.mktemp("full") / "labels.db")
    fill(store, 20, 3, campaign=Campaign(name="pairs", gold_share=0.2, repeat_share=0.2, rewrite=True), gold=4)
    fill_with(store, Campaign(name="a-ranking", kind="ranking", responses=3), 4, 3, 2)
    fill_with(store, RATING, 5, 1, 2)
    for name in ("ann", "bob"):
        work(store, name, 40)
    work(store, "robot", 25, simulated=True)
    store.add_campaign(RATING.model_copy(update={"scale": 9, "instructions": "Look twice."}))
    work(store, "cy", 40)
    store.add_campaign(Campaign(name="pairs", instructions="Look thrice.", overlap=4, rewrite=True))
    review(store)
    yield store
    store.close()


@pytest.fixture(scope="module")
def exported(full: Store) -> dict[str, list[Row]]:
    return every_kind(full)


def test_every_kind_is_what_its_export_gives(full: Store, exported: dict[str, list[Row]]) -> None:
    assert export(full, "preferences") == exported["preferences"] != []
    assert exported.keys() == KINDS.keys() - {"answers"}


def test_a_store_comes_back_whole(full: Store, exported: dict[str, list[Row]], store_url: str, tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    number = write_jsonl(file, rows(full, "answers"))
    removed = {task.id for task in full.tasks() if task.state == "removed"}
    events = [event for event in full.events() if event.task_id not in removed]
    assert number == len(events) < len(list(full.events())), "what was said of a removed task stays here"
    assert {event.action for event in events} == {"answer", "edit", "undo", "adjudicate", "reopen"}
    copy = Store(store_url)
    assert take_answer_file(copy, file) == (number, 0, [])
    assert copy.verify() == []
    assert list(copy.events()) == events
    assert list(copy.judgements()) == [each for each in full.judgements() if each.task_id not in removed]
    assert copy.label_set_hash() == full.label_set_hash()
    asked = {task.id for task in full.tasks() if task.id in {event.task_id for event in events}}
    assert copy.tasks() == [task for task in full.tasks() if task.id in asked]
    assert any(task.gold for task in copy.tasks())
    assert any(task.repeat_of for task in copy.tasks())
    assert {task.version for task in copy.tasks()} == {1, 2}
    assert {task.state for task in copy.tasks()} == {"open", "decided", "paused"}
    found = every_kind(copy)
    for row in (each for each in found["preferences"] if each["adjudicated"]):
        assert (row["posterior"], len(row["annotators"])) == (1.0, 1)
    for kind, of_it in exported.items():
        assert json.dumps(found[kind]) == json.dumps(of_it), kind
    again = tmp_path / "again.jsonl"
    write_jsonl(again, rows(copy, "answers"))
    assert again.read_bytes() == file.read_bytes()
    before = copy.label_set_hash()
    assert take_answer_file(copy, file) == (0, number, []), "taken in twice, it adds nothing"
    assert (copy.label_set_hash(), copy.verify()) == (before, [])
    copy.close()


def test_a_row_says_all_that_was_said_and_no_name_of_a_person(full: Store) -> None:
    found = export(full, "answers")
    assert not {"ann", "bob", "cy", "rex"} & {row["program"] for row in found}
    assert "robot" in {row["program"] for row in found}
    row = next(row for row in found if row["answer"]["verdict"] == "preferred" and row["in_force"])
    texts = {candidate.id: candidate.response for candidate in full.candidates()}
    assert row["responses"] == [texts[each] for each in row["ids"]["responses"]]
    assert row["settings"]["name"] == row["campaign"]
    assert {"seconds", "at", "annotator", "key", "action"} <= row.keys()
    assert {row["settings"]["scale"] for row in found if row["campaign"] == "rated"} == {5, 9}


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("x.jsonl.gz", lambda path, rows: path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))),
        ("x.json", lambda path, rows: path.write_text(json.dumps(rows, indent=2))),
        (
            "sorted.jsonl",
            lambda path, rows: path.write_text("\n".join(json.dumps(row, sort_keys=True) for row in rows)),
        ),
    ],
)
def test_an_export_is_the_same_however_it_is_stored(
    full: Store, tmp_path: Path, name: str, write: Callable[[Path, list[Row]], Any]
) -> None:
    found = export(full, "answers")
    write(tmp_path / name, found)
    assert is_answer_file(tmp_path / name)
    copy, plain = Store(tmp_path / "copy.db"), Store(tmp_path / "plain.db")
    assert take_answer_file(copy, tmp_path / name) == (len(found), 0, [])
    write_jsonl(tmp_path / "plain.jsonl", found)
    take_answer_file(plain, tmp_path / "plain.jsonl")
    assert export(copy, "answers") == export(plain, "answers")
    copy.close()
    plain.close()


def test_rows_of_an_export_among_others_are_refused(full: Store, tmp_path: Path) -> None:
    file, other = tmp_path / "mixed.jsonl", Store(tmp_path / "other.db")
    write_jsonl(file, [BY_HAND, *export(full, "answers")[:1]])
    assert not is_answer_file(file)
    report = import_file(other, "answers", file)
    assert report.taken == 1
    assert "import the export as a file of its own" in report.refused[0].reason
    other.close()


def test_one_campaign_can_be_moved_alone_and_beside_others(full: Store, tmp_path: Path) -> None:
    file = tmp_path / "rated.jsonl"
    write_jsonl(file, rows(full, "answers", "rated"))
    other = Store(tmp_path / "other.db")
    fill(other, 2)
    taken, _, refused = take_answer_file(other, file)
    assert (taken > 0, refused) == (True, [])
    assert json.dumps(export(other, "ratings")) == json.dumps(export(full, "ratings"))
    assert [campaign.name for campaign in other.campaigns()] == ["main", "rated"]
    assert other.version("rated") == 2
    other.close()


def broken(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {
        "newer": {**row, "answers": 3, "news": "?"},
        "no settings": {key: value for key, value in row.items() if key != "settings"},
        "an impossible answer": {**row, "answer": {"verdict": "rated", "ratings": {"clear": [6]}}},
        "no such place": {**row, "answer": {"verdict": "preferred", "winner": 7}},
        "by hand": BY_HAND,
        "no time": {**row, "at": ""},
    }[name]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("newer", "layout 3, written by a newer rlhf-pipeline; this one knows up to 2. Upgrade rlhf-pipeline"),
        ("no settings", "the field 'settings' is missing"),
        ("an impossible answer", "expected 1 to 5|expected one of"),
        ("no such place", "cannot be read"),
        ("by hand", "no row of an answers export"),
        ("no time", "does not say what was done, and when"),
    ],
)
def test_what_cannot_be_read_stores_nothing(full: Store, tmp_path: Path, name: str, told: str) -> None:
    found = export(full, "answers", "rated")
    file, empty = tmp_path / "answers.jsonl", Store(tmp_path / "empty.db")
    write_jsonl(file, [*found[:2], broken(found[2], name)])
    assert is_answer_file(file)
    with pytest.raises(UserError, match=told) as raised:
        take_answer_file(empty, file)
    assert "line 3" in str(raised.value)
    assert "Nothing was imported" in str(raised.value)
    assert (empty.campaigns(), empty.prompts()) == ([], [])
    empty.close()


def test_another_campaign_of_that_name_is_not_mixed_with(full: Store, tmp_path: Path) -> None:
    file, other = tmp_path / "answers.jsonl", Store(tmp_path / "other.db")
    write_jsonl(file, rows(full, "answers", "rated"))
    fill_with(other, RATING.model_copy(update={"scale": 3}), 1, 1)
    with pytest.raises(UserError, match='version 1 of the campaign "rated" is another one here'):
        take_answer_file(other, file)
    other.close()
