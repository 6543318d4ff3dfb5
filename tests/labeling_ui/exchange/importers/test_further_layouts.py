"""Further layouts of the same kinds: what is stored is what people said, and what is odd is refused by line."""

import json
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from labeling_ui.campaign import Campaign
from labeling_ui.exchange.importers.layout import Wishes
from labeling_ui.exchange.imports import survey_file
from tests.labeling_ui.exchange.importers.taking import PAIRS, RANKING, battle, drafted, own
from tests.labeling_ui.exchange.importers.test_meaning import annotation, task

STARS = Campaign(name="stars", kind="rating", aspects=("helpful",), scale=5)
TWO_TEXTS = {"prompt": "What floats?", "response1": "Apple", "response2": "Stone"}
ITEMS = {"prompt": "What floats?", "items": [{"id": letter, "body": letter.upper()} for letter in "abc"]}


def side(which: str) -> tuple[str, str, str, str]:
    return "better", "pairwise", "response_a,response_b", which


def choice(question: str, *values: str) -> tuple[str, str, str, list[str]]:
    return question, "choices", "prompt", list(values)


def ranker(by: int, **buckets: list[str]) -> Any:
    result = {"from_name": "order", "type": "ranker", "to_name": "items", "value": {"ranker": buckets}}
    return {"completed_by": by, "was_cancelled": False, "result": [result]}


def flat(**questions: tuple[list[Any], list[Any], list[str]]) -> dict[str, Any]:
    """Argilla's flat layout: answers, users and states of each question in columns of their own."""
    parts = ("responses", "responses.users", "responses.status")
    answers = {f"{name}.{part}": each for name, of in questions.items() for part, each in zip(parts, of, strict=True)}
    return {"id": "r", "status": "completed", "_server_id": "x", **TWO_TEXTS, **answers}


def nested(number: int, status: str, **answers: Any) -> dict[str, Any]:
    """Argilla's nested layout, which does not say whether an answer is a draft."""
    given = {question: [{"value": value, "user_id": "u1"}] for question, value in answers.items()}
    guess = {"better": {"value": "response2", "score": 0.9}}
    return {
        "id": str(number), "status": status, "fields": TWO_TEXTS | {"prompt": f"{number}?"}, "responses": given,
        "suggestions": guess, "metadata": {"winner": "response2"},
    }  # fmt: skip


def parts(text: str, *before: dict[str, str]) -> list[dict[str, Any]]:
    asked = [*before, {"type": "text", "text": "What floats?"}]
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": [{"type": "text", "text": text}]}]


def rating(**fields: Any) -> dict[str, Any]:
    return {"prompt": "What floats?", "response": f"{fields}", "aspect": "helpful", "score": 4, "scale": 5} | fields


CASES: dict[str, tuple[str, Campaign, list[Any], list[str], list[str]]] = {
    "a control for ties beside one of two sides": (
        "labelstudio", PAIRS,
        [task(
            annotation(1, side("left")), annotation(2, choice("tie", "Tie"), ("why", "textarea", "prompt", ["none"])),
            annotation(3, side("right")), annotation(4, choice("tie", "Both bad")),
        )],
        ["Apple", "tie (none)", "Stone", "both_bad"], [],
    ),
    "an unrelated choice of several beside sides": (
        "labelstudio", PAIRS, [task(annotation(1, side("left"), choice("unsafe", "response_a", "response_b")))],
        ["Apple"], [],
    ),
    "a flag that says Both, answered where sides are not": (
        "labelstudio", PAIRS, [task(annotation(1, side("left")), annotation(2, choice("unsafe", "Both")))],
        ["Apple"], ["1: an annotation says nothing of the responses"],
    ),
    "a draft beside annotations of deleted users": (
        "labelstudio", PAIRS,
        [{**task(annotation(None, side("left")), annotation(None, side("right"))),
          "drafts": [annotation(9, side("left"))]}],
        ["Apple", "Stone"], [],
    ),
    "rankers that were moved in part, not at all, and for all that matters": (
        "labelstudio", RANKING,
        [{"id": 1, "data": ITEMS, "annotations": [
            ranker(1, _=["a", "c"], best=["b"]), ranker(2, _=["a", "b", "c"], best=[]),
            ranker(3, _=["a"], best=["c", "b"]),
        ]}],
        ["C > B"],
        ["1: its ranker was not touched, which is no ranking", "1: the ranking does not order two different responses"],
    ),
    "numbers with fractions, of two responses": (
        "labelstudio", STARS,
        [task(
            annotation(1, ("helpful", "number", "response_a", 4.0), ("helpful", "number", "response_b", 2)),
            annotation(2, ("helpful", "number", "response_a", 2.5)),
        )],
        ["helpful 4", "helpful 2"], ["1: the rating 2.5 is not a whole number"],
    ),
    "flat records with a draft, somebody unknown, a number and a comment": (
        "argilla", PAIRS,
        [flat(
            better=(["response1", "response2", "response1"], ["u1", None, "u3"], ["submitted", "submitted", "draft"]),
            quality=([9, 1, 3], ["u1", None, "u3"], ["submitted", "submitted", "draft"]),
            note=(["both", "none", "tie"], ["u1", None, "u3"], ["submitted", "submitted", "draft"]),
        )],
        ["Apple (both)", "Stone"], [],
    ),
    "nested records that are pending, tied, or guessed by a model": (
        "argilla", PAIRS,
        [nested(1, "pending", better="response1"), nested(2, "completed", better="response1", spans=[{"label": "x"}]),
         nested(3, "completed", better="tie", unsafe=["response2"]), nested(4, "completed")],
        ["Apple", "tie"], ["1: its answers carry no status", "4: nobody has answered it"],
    ),
    "content parts, of text and of an image": (
        "trl", PAIRS,
        [{"chosen": parts("Apple"), "rejected": parts("Stone"), "score": 1, "comment": "both"},
         {"chosen": parts("Apple", {"type": "image", "image": "x.png"}), "rejected": parts("Stone")}],
        ["Apple"], ["2: a message holds more than text (image)"],
    ),
    "rows of every odd kind between good ones": (
        "trl", PAIRS,
        [{"prompt": "q", "chosen": "a", "rejected": "b"}, None, [1], {},
         {"prompt": "q", "chosen": None, "rejected": "b"}, {"prompt": " ", "chosen": "a", "rejected": "b"},
         {"prompt": "q", "chosen": 7, "rejected": "b"},
         {"prompt": "r", "chosen": "c", "rejected": "d", "margin": None, "winner": "rejected"}],
        ["a", "c"], ["2: ", "3: ", "4: ", "5: ", "6: the prompt is empty", "7: "],
    ),
    "a prompt under another name": (
        "trl", PAIRS, [{"question": "Why?", "chosen": "Because it rains.", "rejected": "Because it snows."}],
        [], ['1: it has no column "prompt", but "question"'],
    ),
    "battles without an outcome, and with a comment": (
        "arena", PAIRS,
        [battle(winner, f"q{number}", comment="both")
         for number, winner in enumerate(["model_b", "tie (bothbad)", "", "both"])],
        ["Sun.", "both_bad"], ["3: the winner ''", "4: the winner 'both'"],
    ),
    "answers whose winner is missing, or no number": (
        "answers", PAIRS,
        [own({"verdict": "preferred", **more})
         for more in ({"winner": 1, "rationale": "r"}, {}, {"winner": True}, {"winner": "0"})],
        ["Sun. (r)"], ["2: the answer names response None", "3: the answer names response True", "4: "],
    ),
    "ratings on another scale, in fractions, in words, or missing": (
        "ratings", STARS,
        [rating(), rating(score=5.0), rating(score=4.5), rating(score=None), rating(score=True),
         rating(score=3, scale=3), rating(scale=None)],
        ["helpful 4", "helpful 5"],
        ["3: the score 4.5 is not a whole number", "4: ", "5: ", "6: it is on a scale to 3", '7: the field "scale"'],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_stored_is_what_people_said(name: str) -> None:
    format, campaign, rows, expected, reasons = CASES[name]
    wishes = {"scale": 5} if campaign is STARS and format == "labelstudio" else {}
    votes, refused = drafted(format, rows, campaign, **wishes)
    assert [words for _, words in votes] == expected
    assert len(refused) == len(reasons)
    for found, reason in zip(sorted(refused), reasons, strict=True):
        assert found.startswith(reason)


def test_a_tie_beside_a_side_is_asked_about() -> None:
    rows = [task(annotation(1, side("left")), annotation(2, side("left"), choice("tie", "Tie")))]
    with pytest.raises(UserError, match=r"2 questions .*--question better"):
        drafted("labelstudio", rows)
    assert [words for _, words in drafted("labelstudio", rows, question="better")[0]] == ["Apple", "Apple"]
    words = drafted("labelstudio", rows, question="tie")
    assert [vote for _, vote in words[0]] == ["tie"]


def test_a_choice_that_could_be_of_anything_completes_no_sides() -> None:
    rows = [task(annotation(1, side("left")), annotation(2, choice("length", "Equal")))]
    assert [words for _, words in drafted("labelstudio", rows)[0]] == ["Apple"]


def test_no_column_that_holds_a_response_is_said_to_be_ignored(tmp_path: Path) -> None:
    rows = [{"prompt": "Why?", "response_a": "Sun.", "response_b": "Rain.", "model_b": "tiny", "note": "x"}]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    (said,) = survey_file("responses", file, Wishes()).layout.lines()
    assert said == "columns: prompt, response_a, response_b, model_b; ignored: note (1)"
