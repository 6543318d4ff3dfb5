"""Other people's files come into the store: what is taken, what is refused, line by line."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from labeling_ui.data_model import Answer, Judgement
from labeling_ui.exchange.exports.preferences import preferences
from labeling_ui.exchange.importers.judged_items import Refusal
from labeling_ui.exchange.imports import ImportReport, import_file
from labeling_ui.quality import assessment
from labeling_ui.store.store import Store
from tests.labeling_ui.exchange.importers.taking import take_file
from tests.labeling_ui.filling import fill

SHARED = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "labels.db")
    yield store
    store.close()


def write(path: Path, rows: list[Any], lines: bool = True) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows) if lines else json.dumps(rows), encoding="utf-8")
    return path


def reasons(report: ImportReport) -> list[tuple[int, str]]:
    return [(refusal.line, refusal.reason) for refusal in report.refused]


def only(store: Store) -> dict[str, Any]:
    (row,) = preferences(store).rows
    return row


# Importers, on files written by hand.


def test_trl_explicit_and_implicit_text_and_messages_are_read_alike(store: Store, tmp_path: Path) -> None:
    question = {"role": "user", "content": "How are you?"}
    well, ill = ({"role": "assistant", "content": text} for text in ("Well.", "Ill."))
    shapes: list[dict[str, Any]] = [
        {"prompt": [question], "chosen": [well], "rejected": [ill], "margin": 0.7},
        {"prompt": "How are you?", "chosen": "Well.", "rejected": "Ill.", "margin": 0.7},
        {"chosen": [question, well], "rejected": [question, ill], "margin": 0.7},
    ]
    report = import_file(store, "trl", write(tmp_path / "file.jsonl", shapes))
    assert report == ImportReport(taken=1, already_there=2, refused=[])
    row = only(store)
    assert (row["prompt"], row["chosen"], row["rejected"]) == ([question], [well], [ill])
    assert row["margin"] == pytest.approx(2 / 3, abs=1e-4)


def test_trl_text_without_a_prompt_is_split_at_the_last_shared_word_if_that_is_said(
    store: Store, tmp_path: Path
) -> None:
    rows = [{"chosen": "The sky is blue.", "rejected": "The sky is black."}, {"chosen": "yes", "rejected": "no"}]
    path = write(tmp_path / "file.jsonl", rows)
    assert "--map prompt=chosen" in import_file(store, "trl", path).refused[0].reason
    report = take_file(store, "trl", path, columns={"prompt": ["chosen"]})
    assert only(store)["prompt"][0]["content"] == "The sky is "
    assert only(store)["chosen"][0]["content"] == "blue."
    assert reasons(report) == [(2, "chosen and rejected share no beginning that could be the prompt")]


def test_our_own_export_comes_back_with_its_simulated_mark(store: Store, tmp_path: Path) -> None:
    first, second = fill(store, 2)
    for task, name, place, strength in ((first, "robot", 0, 1), (second, "ann", 1, 2)):
        annotator = store.annotator(name, simulated=name == "robot")
        answer = Answer("preferred", task.candidates[place], strength)
        store.record(Judgement(task.id, annotator.id, task.candidates, answer))
    rows = preferences(store).rows
    copy = Store(tmp_path / "copy.db")
    assert import_file(copy, "trl", write(tmp_path / "ours.jsonl", rows)).taken == 2
    for mine, back in zip(rows, preferences(copy).rows, strict=True):
        for field in ("prompt", "chosen", "rejected", "margin", "ids", "simulated"):
            assert mine[field] == back[field]
    assert copy.counts().simulated_judgements == 1
    copy.close()


def test_trl_records_without_a_usable_pair_are_refused_by_line(store: Store, tmp_path: Path) -> None:
    user, system = {"role": "user", "content": "q"}, {"role": "system", "content": "be kind"}
    rows: list[dict[str, Any]] = [
        {"prompt": "q", "chosen": "x", "rejected": " x\n"},
        {"prompt": "q", "chosen": "", "rejected": "x"},
        {"prompt": "q", "chosen": "x", "rejected": "y", "margin": 4},
        {"prompt": [{"role": "assistant", "content": "Hello"}, user], "chosen": "x", "rejected": "y"},
        {"prompt": [user, {"role": "tool", "content": "t"}, user], "chosen": "x", "rejected": "y"},
        {"prompt": [user], "chosen": [user], "rejected": [user]},
        {"prompt": [{"role": "user", "content": ["image"]}], "chosen": "x", "rejected": "y"},
        {"prompt": "q", "chosen": "half \ud83d", "rejected": "y"},
        {"prompt": [system, user, user], "chosen": "x", "rejected": "y"},
    ]
    report = import_file(store, "trl", write(tmp_path / "file.jsonl", rows))
    expected = [
        "same",
        "empty",
        r"margin 4",
        "user's turn",
        "what a tool answers",
        "one reply",
        "more than text",
        "surrogate",
    ]
    assert [line for line, _ in reasons(report)] == list(range(1, 9))
    for (_, reason), part in zip(reasons(report), expected, strict=True):
        assert part in reason
    assert only(store)["prompt"] == [system, {"role": "user", "content": "q\n\nq"}]


def test_hh_dialogues_are_split_before_the_last_reply(store: Store, tmp_path: Path) -> None:
    start = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Who are you?\n\nAssistant:"
    rows = [
        {"chosen": f"{start} A friend.\n\nReally.", "rejected": f"{start} Nobody."},
        {"chosen": f"{start} Same", "rejected": f"{start}  Same "},
        {"chosen": f"{start} A", "rejected": "\n\nHuman: Bye\n\nAssistant: B"},
        {"chosen": f"{start} A\n\nHuman: and", "rejected": f"{start} B\n\nHuman: and"},
        {"chosen": "A", "rejected": "B"},
        {"chosen": f"{start}", "rejected": f"{start} B"},
    ]
    report = import_file(store, "hh", write(tmp_path / "file.jsonl", rows))
    row = only(store)
    assert [message["role"] for message in row["prompt"]] == ["user", "assistant", "user"]
    assert row["prompt"][2]["content"] == "Who are you?"
    assert row["chosen"][0]["content"] == "A friend.\n\nReally."
    assert row["rejected"][0]["content"] == "Nobody."
    assert reasons(report) == [
        (2, "the two responses are the same"),
        (3, "the conversations differ before the last reply"),
        (4, "the last turn is not the assistant's"),
        (5, "the text does not begin with a Human: or Assistant: turn"),
        (6, "a response is empty"),
    ]
    assert [annotator.name for annotator in store.annotators()] == ["hh (imported)"]


def test_finegrained_verdicts_are_read_in_their_order(store: Store, tmp_path: Path) -> None:
    record = {f"prediction {number}": f"answer {number}" for number in (1, 2, 3, 4)}
    record |= {"question": "why?", "gold": "because"}
    whole = {**record, "passages": [["long"]], "preference": [1, 2, 0, 1, 2, 2]}
    report = import_file(store, "finegrained", write(tmp_path / "file.json", [whole], lines=False))
    assert (report.taken, report.refused) == (6, [])
    found = preferences(store)
    won = {(row["chosen"][0]["content"][-1], row["rejected"][0]["content"][-1]) for row in found.rows}
    assert won == {("1", "2"), ("3", "1"), ("2", "3"), ("4", "2"), ("4", "3")}
    assert found.ties == 1
    (prompt,) = store.prompts()
    assert prompt.messages == ({"role": "user", "content": "why?"},)
    assert prompt.references == ("because",)


def test_oasst_pairs_and_trees_give_the_same_labels(tmp_path: Path) -> None:
    def reply(text: str, rank: int | None, replies: list[Any] | None = None, role: str = "assistant") -> dict[str, Any]:
        return {"role": role, "text": text, "rank": rank, "replies": replies or []}

    deeper = reply("Why?", 0, [reply("Rain.", 1), reply("Clouds.", 0)], role="prompter")
    other = reply("Sure?", 1, role="prompter")
    best = reply("Bad.", 0, [deeper, other])
    root = reply("Weather?", None, [best, reply("Fine.", 1), reply("Wet.", 2), reply("unranked", None)], "prompter")
    asked = [{"role": "prompter", "text": "Weather?"}]
    then = [*asked, {"role": "assistant", "text": "Bad."}, {"role": "prompter", "text": "Why?"}]
    pairs = [
        {"context": context, "reply_role": "assistant", "chosen": chosen, "rejected": rejected}
        for context, chosen, rejected in [
            (asked, "Bad.", "Fine."),
            (asked, "Bad.", "Wet."),
            (asked, "Fine.", "Wet."),
            (then, "Clouds.", "Rain."),
        ]
    ]
    pairs.append({"context": asked[:1], "reply_role": "prompter", "chosen": "Why?", "rejected": "Sure?"})
    from_tree, from_pairs = Store(tmp_path / "tree.db"), Store(tmp_path / "pairs.db")
    tree = {"message_tree_id": "t", "prompt": root}
    assert import_file(from_tree, "oasst", write(tmp_path / "tree.jsonl", [tree])) == ImportReport(4, 0, [])
    report = import_file(from_pairs, "oasst", write(tmp_path / "pairs.jsonl", pairs))
    assert report == ImportReport(4, 0, [Refusal(5, "the ranked replies are the user's")])
    said = [{(each.task_id, each.answer.winner) for each in store.judgements()} for store in (from_tree, from_pairs)]
    assert said[0] == said[1]
    from_tree.close()
    from_pairs.close()


def test_pandalm_keeps_its_three_annotators(store: Store, tmp_path: Path) -> None:
    record = {"instruction": "Say", "input": "hi", "annotator1": 1, "annotator2": 2, "annotator3": 1}
    rows = [
        {**record, "response1": "Hi.", "response2": "No."},
        {**record, "response1": "No.", "response2": "Hi.", "annotator1": 2, "annotator2": 2, "annotator3": 2},
        {**record, "response1": True, "response2": "Hi."},
    ]
    report = import_file(store, "pandalm", write(tmp_path / "file.json", rows, lines=False))
    assert [annotator.name for annotator in store.annotators()] == ["annotator1", "annotator2", "annotator3"]
    row = only(store)
    assert row["prompt"] == [{"role": "user", "content": "Say\n\nhi"}]
    assert (row["chosen"][0]["content"], row["weight"]) == ("Hi.", 3)
    assert 2 / 3 < row["p_chosen"] < 0.75, "who stands alone counts a little less"
    assert (report.taken, report.already_there) == (3, 2)
    assert reasons(report) == [
        (2, '"annotator2" has judged this task before, and otherwise'),
        (3, "a response is not text"),
    ]


@pytest.mark.parametrize(
    ("format", "text", "message"),
    [
        ("trl", '{"prompt": "q", "chosen": "a", "rejected": "b"}\n{"prompt"', "line 2: not valid JSON"),
        ("pandalm", "[{]", "not valid JSON"),
        ("hh", "", "holds no records"),
        ("csv", "", 'unknown format "csv": expected one of trl'),
    ],
)
def test_a_malformed_file_says_where_and_stores_nothing(
    store: Store, tmp_path: Path, format: str, text: str, message: str
) -> None:
    path = tmp_path / "file"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        import_file(store, format, path)
    assert store.counts().prompts == store.counts().judgements == 0


@pytest.mark.parametrize(
    ("format", "row", "reason"),
    [
        ("hh", {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": 3}, 'the field "rejected" must be a string'),
        ("hh", {"chosen": "a"}, 'the field "rejected" is missing'),
        ("trl", {"chosen": "a"}, 'the field "rejected" is missing'),
        ("trl", {"prompt": "q", "response_0": "a"}, "tables with other columns are read with --format columns"),
        ("trl", {"prompt": "q", "chosen": "a", "rejected": ["b"]}, "must both be text, or both be messages"),
        ("trl", {"prompt": 3, "chosen": "a", "rejected": "b"}, "the prompt is neither text nor a conversation"),
        ("oasst", {"message_tree_id": "t", "prompt": {"role": "prompter"}}, 'the field "text" is missing'),
        ("oasst", {"context": []}, 'the field "reply_role" is missing'),
        ("finegrained", {"question": "q"}, 'the field "prediction 1" is missing'),
        ("finegrained", 3, "it is no record but 3"),
        ("pandalm", {"instruction": "i", "input": ""}, "a response is not text"),
    ],
)
def test_an_odd_row_refuses_itself_alone(store: Store, tmp_path: Path, format: str, row: Any, reason: str) -> None:
    report = import_file(store, format, write(tmp_path / "file.jsonl", [row]))
    assert (report.taken, len(report.refused)) == (0, 1)
    assert reason in report.refused[0].reason


def test_a_missing_file_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.jsonl is not a file"):
        import_file(store, "hh", tmp_path / "nowhere.jsonl")


# Importers, on real data.


@pytest.mark.skipif(not SHARED.exists(), reason=f"no real data at {SHARED}")
@pytest.mark.parametrize(
    ("format", "file", "taken", "there", "refused", "rows"),
    [
        ("hh", "hh_harmless.jsonl", 1846, 0, {"differ before": 4, "empty": 3}, 1846),
        ("finegrained", "finegrained_qa_feedback_dev/dev_feedback.json", 3000, 0, {}, 2616),
        ("oasst", "oasst_100_trees/ranked_pairs.jsonl", 754, 0, {}, 754),
        ("oasst", "oasst_100_trees/en_100_tree.jsonl", 754, 0, {}, 754),
        (
            "pandalm",
            "pandalm_test_3annotators/testset-v1.json",
            2511,
            304,
            {"empty": 54, "not text": 6, "before": 2},
            760,
        ),
    ],
)
def test_real_files_come_in_once(
    store: Store, format: str, file: str, taken: int, there: int, refused: dict[str, int], rows: int
) -> None:
    report = import_file(store, format, SHARED / file)
    assert (report.taken, report.already_there) == (taken, there)
    found = Counter(part for refusal in report.refused for part in refused if part in refusal.reason)
    assert found == refused
    assert len(report.refused) == sum(refused.values())
    assert len(preferences(store).rows) == rows
    before = store.label_set_hash()
    assert import_file(store, format, SHARED / file).taken == 0
    assert store.label_set_hash() == before


@pytest.mark.skipif(not SHARED.exists(), reason=f"no real data at {SHARED}")
def test_pandalm_annotators_agree_about_as_published(store: Store) -> None:
    import_file(store, "pandalm", SHARED / "pandalm_test_3annotators" / "testset-v1.json")
    found = assessment.agreement(store)
    # .864 over all 999 rows; here without empty responses, and with each repeated pair counted once.
    assert found.alpha == pytest.approx(0.864, abs=0.01)
