"""Rankings become pairs that share their weight, or keep their places; ratings are a row for each score."""

import pytest

from labeling_ui.data_model import Answer
from labeling_ui.exchange.exports.preferences import beyond_preferences, preferences
from labeling_ui.exchange.exports.registry import export
from labeling_ui.store.store import Store
from tests.labeling_ui.exchange.exports.voting import RANKING, RATING, say
from tests.labeling_ui.filling import fill_with


def test_a_ranking_becomes_pairs_that_share_its_weight(store: Store) -> None:
    (task,) = fill_with(store, RANKING, 1, 5)
    a, b, c, d, e = task.candidates
    say(store, task, "ann", Answer("ranked", ranking=((b,), (a, c), (d,))))
    rows = export(store, "rankings")
    won = {(row["ids"]["chosen"], row["ids"]["rejected"]) for row in rows}
    assert won == {(b, a), (b, c), (b, d), (a, d), (c, d)}, "a and c are equals, and e was not ranked"
    assert {row["weight"] for row in rows} == {round(1 / 6, 6)}, "four were named: six pairs share one vote"
    assert {row["origin"] for row in rows} == {"ranking"}
    assert preferences(store).ties == 1
    assert not any(e in row["ids"].values() for row in rows)


def test_rankings_of_several_annotators_are_weighed_pair_by_pair(store: Store, weighted: dict[str, float]) -> None:
    weighted |= {"ann": 1.0, "ben": 3.0}
    (task,) = fill_with(store, RANKING, 1, 3, overlap=2)
    a, b, c = task.candidates
    say(store, task, "ann", Answer("ranked", ranking=((a,), (b,), (c,))))
    say(store, task, "ben", Answer("ranked", ranking=((b,), (a,))))
    rows = {(row["ids"]["chosen"], row["ids"]["rejected"]): row for row in export(store, "rankings")}
    assert rows.keys() == {(a, c), (b, c)}
    (split,) = export(store, "soft")
    assert (split["ids"]["chosen"], split["ids"]["rejected"]) == (b, a)
    assert split["weight"] == pytest.approx(1 / 3 + 3, abs=1e-6)
    assert split["p_chosen"] == pytest.approx(3 / (1 / 3 + 3))
    assert rows[a, c]["weight"] == pytest.approx(1 / 3, abs=1e-6)


def test_whole_rankings_keep_their_places(store: Store, weighted: dict[str, float]) -> None:
    weighted |= {"ann": 0.75, "ben": 1.5}
    (task,) = fill_with(store, RANKING, 1, 4, overlap=2)
    a, b, c, _ = task.candidates
    say(store, task, "ann", Answer("ranked", ranking=((b,), (a, c))))
    say(store, task, "ben", Answer("ranked", ranking=((a, b),)))
    (row,) = export(store, "orders")
    assert row["ids"]["responses"] == [b, a, c]
    assert (row["ranks"], row["weight"]) == ([1, 2, 2], 0.75), "who put all on one place has ordered nothing"
    assert [each["origin"] for each in export(store, "ties")] == ["ranking"]
    trained = {name: value for name, value in row.items() if name not in ("rationale", "seconds", "at")}
    assert beyond_preferences(store) == [trained], "ties within a ranking are in it already"


def test_ratings_are_one_row_for_each_score(store: Store) -> None:
    (task,) = fill_with(store, RATING, 1, 1)
    (only_one,) = task.candidates
    say(store, task, "Anneliese", Answer("rated", ratings={"helpful": {only_one: 6}, "honest": {only_one: 3}}))
    rows = export(store, "ratings")
    assert [(row["aspect"], row["score"], row["scale"]) for row in rows] == [("helpful", 6, 7), ("honest", 3, 7)]
    assert rows[0]["prompt"] == [{"role": "user", "content": "question 0"}]
    assert rows[0]["response"] == "answer 0"
    assert rows[0]["annotator"] == store.annotators()[0].id
    assert "Anneliese" not in str(rows), "an export carries no names"
