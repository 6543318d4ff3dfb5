"""Label Studio: what is read from its annotations, and what is refused."""

from typing import Any

import pytest

from labeling_ui.data_model import Answer
from labeling_ui.exchange.exports.registry import export
from labeling_ui.store.store import Store
from tests.labeling_ui.exchange.importers.taking import RANKING, RATING, reasons, said, take


def task(number: int, data: dict[str, Any], *annotations: dict[str, Any]) -> dict[str, Any]:
    return {"id": number, "data": data, "annotations": list(annotations), "predictions": [{"result": []}]}


def annotation(by: Any, *results: tuple[str, str, dict[str, Any]], cancelled: bool = False) -> dict[str, Any]:
    result = [{"type": kind, "from_name": kind, "to_name": to, "value": found} for kind, to, found in results]
    return {"id": 5, "completed_by": by, "was_cancelled": cancelled, "lead_time": 3.5, "result": result}


def test_label_studio_keeps_its_annotators_apart(store: Store) -> None:
    data = {"prompt": "Why?", "answer1": "Rain.", "answer2": "Sun."}
    person = {"id": 3, "email": "ann@example.org", "first_name": "Ann"}
    row = task(
        1,
        data,
        annotation(1, ("pairwise", "answer1,answer2", {"selected": "right"}), ("textarea", "x", {"text": ["Dry."]})),
        annotation(2, ("pairwise", "answer2,answer1", {"selected": "right"})),
        annotation(person, ("pairwise", "answer1,answer2", {"selected": "left"})),
        annotation(4, ("pairwise", "answer1,answer2", {"selected": "left"}), cancelled=True),
    )
    report = take(store, "labelstudio", [row])
    assert (report.taken, report.refused) == (4, [])
    assert said(store) == {
        "labelstudio 1": Answer("preferred", winner="Sun.", rationale="Dry."),
        "labelstudio 2": Answer("preferred", winner="Rain."),
        "labelstudio 3": Answer("preferred", winner="Rain."),
        "labelstudio 4": Answer("skip", reason="cancelled in Label Studio"),
    }
    assert "ann" not in {each.name for each in store.annotators()}, "no names, no e-mail addresses"


def test_a_submitted_annotation_that_says_nothing_is_refused_beside_others(store: Store) -> None:
    chosen = annotation(1, ("pairwise", "answer1,answer2", {"selected": "left"}))
    commented = annotation(3, ("textarea", "x", {"text": ["Hard."]}))
    row = task(1, {"prompt": "Why?", "answer1": "Rain.", "answer2": "Sun."}, chosen, annotation(2), commented)
    report = take(store, "labelstudio", [row])
    assert (report.taken, list(said(store))) == (1, ["labelstudio 1"])
    assert reasons(report) == [(1, "an annotation says nothing of the responses")] * 2


@pytest.mark.parametrize("ranker", [["m2", "m3", "m1"], {"rank": ["m2", "m3", "m1"], "_": []}])
def test_label_studio_rankers_order_the_items_of_a_list(store: Store, ranker: Any) -> None:
    items = [{"id": "m1", "title": "Model 1", "body": "Rain."}, {"id": "m2", "body": "Sun."}, {"id": "m3", "html": "W"}]
    row = task(1, {"prompt": "Why?", "items": items}, annotation(1, ("ranker", "items", {"ranker": ranker})))
    assert take(store, "labelstudio", [row], RANKING).taken == 1
    assert said(store)["labelstudio 1"].ranking == (("Sun.",), ("W",), ("Rain.",))


def test_label_studio_ratings_and_refusals(store: Store) -> None:
    data = {"prompt": "Why?", "answer1": "Rain.", "answer2": "Sun."}
    rated = annotation(1, ("rating", "answer2", {"rating": 4}), ("rating", "answer1", {"rating": 2}))
    rows = [
        task(1, data, rated),
        task(2, data, annotation(1, ("rating", "answer1", {"rating": 9}))),
        task(3, data),
        task(4, data, annotation(1, ("rating", "answer1,answer2", {"rating": 2}))),
        task(5, data, annotation(1, ("rating", "answer1", {"rating": 2.5}))),
    ]
    report = take(store, "labelstudio", rows, RATING, scale=5)
    assert report.taken == 2
    assert {row["response"]: row["score"] for row in export(store, "ratings")} == {"Rain.": 2, "Sun.": 4}
    parts = [(2, "expected 1 to 5"), (3, "nobody has annotated"), (4, "says nothing"), (5, "not a whole number")]
    assert [line for line, _ in reasons(report)] == [line for line, _ in parts]
    for (_, reason), (_, part) in zip(reasons(report), parts, strict=True):
        assert part in reason


def test_ratings_of_two_responses_by_questions_of_their_own_are_of_one_aspect(store: Store) -> None:
    results = [
        {"type": "rating", "from_name": f"{name}_{end}", "to_name": f"response_{end}", "value": {"rating": score}}
        for name, end, score in (("helpful", "a", 5), ("helpful", "b", 2), ("rating", "b", 3))
    ]
    row = task(1, {"prompt": "Why?", "response_a": "Rain.", "response_b": "Sun."})
    row["annotations"] = [{"id": 1, "completed_by": 1, "was_cancelled": False, "result": results}]
    assert take(store, "labelstudio", [row], RATING, scale=5).taken == 2
    scores = {(row["response"], row["aspect"]): row["score"] for row in export(store, "ratings")}
    assert scores == {("Rain.", "helpful"): 5, ("Sun.", "helpful"): 2, ("Sun.", "rating"): 3}


def test_a_ranker_that_was_not_touched_is_no_ranking(store: Store) -> None:
    items = [{"id": "m1", "body": "Rain."}, {"id": "m2", "body": "Sun."}]
    ranked = {"rank": ["m2", "m1"], "_": []}
    rows = [
        task(
            number, {"prompt": f"Why {number}?", "items": items}, annotation(1, ("ranker", "items", {"ranker": ranker}))
        )
        for number, ranker in enumerate([ranked, {"rank": [], "_": ["m1", "m2"]}, {"good": ["m1"], "bad": ["m2"]}])
    ]
    report = take(store, "labelstudio", rows, RANKING)
    assert report.taken == 1
    assert ["not touched" in report.refused[0].reason, "several buckets" in report.refused[1].reason] == [True, True]


def test_label_studio_min_exports_are_no_such_file(store: Store) -> None:
    report = take(store, "labelstudio", [{"data": {}, "id": 1, "comparison": "left"}])
    assert (report.taken, reasons(report)) == (
        0, [(1, 'the field "annotations" is missing: export the project as JSON, not as JSON-MIN')],
    )  # fmt: skip
