"""Single responses: which are good, and what speaks for and against them."""

from labeling_ui.data_model import Answer
from labeling_ui.exchange.exports.registry import export
from labeling_ui.store.store import Store
from tests.labeling_ui.exchange.exports.voting import RATING, say, vote
from tests.labeling_ui.filling import fill, fill_with


def test_unpaired_rows_say_which_responses_are_good(store: Store) -> None:
    first, second, third = fill(store, 3)
    vote(store, first, "ann", ("a", None))
    vote(store, second, "ann", ("both_bad", None))
    vote(store, third, "ann", ("tie", None))
    labels = {row["ids"]["completion"]: row["label"] for row in export(store, "unpaired")}
    good, bad = first.candidates
    assert labels == {good: True, bad: False, second.candidates[0]: False, second.candidates[1]: False}
    row = export(store, "unpaired")[0]
    assert row["completion"][0]["role"] == "assistant"
    assert (row["weight"], row["p_label"]) == (1.0, 1.0)


def test_unpaired_rows_weigh_what_speaks_for_and_against(store: Store, weighted: dict[str, float]) -> None:
    weighted |= {"ann": 1.0, "ben": 3.0}
    (task,) = fill_with(store, RATING, 1, 1, overlap=4)
    (only_one,) = task.candidates
    for name, score in (("ann", 7), ("ben", 2), ("carl", 4)):
        say(store, task, name, Answer("rated", ratings={"helpful": {only_one: score}}))
    assert export(store, "unpaired") == [], "one finds it good and one bad: their weights alone decide nothing"
    weighted["dan"] = 0.0
    say(store, task, "dan", Answer("rated", ratings={"helpful": {only_one: 3}}))
    assert export(store, "unpaired") == [], "nor does a vote without weight"
    weighted["dan"] = 1.0
    (row,) = export(store, "unpaired")
    assert (row["label"], row["weight"], row["p_label"]) == (False, 5.0, 0.8), "4 of 7 is the middle and says nothing"
