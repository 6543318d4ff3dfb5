"""An aspect that does not apply: as the page says it, as it is kept and exported, and what is learned from it."""

from labeling_ui.exchange.exports.preferences import beyond_preferences
from labeling_ui.exchange.exports.registry import rows
from labeling_ui.store.store import Store
from tests.labeling_ui.pages import client_of, fill_kind
from tests.labeling_ui.web.judging import desk, judge, said

MEANING = {"helpful": "Does it answer what was asked?"}
ASPECTS = ("helpful", "honest")


def test_an_aspect_that_does_not_apply_is_exported_as_null_and_trains_nothing(store: Store) -> None:
    fill_kind(store, "rating", aspects=ASPECTS, definitions=MEANING, not_applicable=True)
    client = client_of(store)
    first, second = desk(client)["cards"]
    assert (first["definitions"], first["not_applicable"]) == (["Does it answer what was asked?", ""], True)
    judge(client, first, {"verdict": "rated", "ratings": {"helpful": [6], "honest": None}})
    judge(client, second, {"verdict": "rated", "ratings": {"helpful": None, "honest": None}})
    assert [one.answer.not_applicable for one in said(store)] == [("honest",), ("helpful", "honest")]
    exported = [(row["aspect"], row["score"]) for row in rows(store, "ratings")]
    assert sorted(exported, key=str) == [("helpful", 6), ("helpful", None), ("honest", None), ("honest", None)]
    assert [row["score"] for row in beyond_preferences(store)] == [6]
    entry = client.get("/api/history").json()[0]
    again = client.get("/api/card", params={"ticket": entry["ticket"]}).json()
    assert again["previous"]["ratings"] == {"helpful": None, "honest": None}


def test_what_is_not_offered_cannot_be_said(store: Store) -> None:
    fill_kind(store, "rating", aspects=ASPECTS)
    client = client_of(store)
    card = desk(client)["cards"][0]
    refused = judge(client, card, {"verdict": "rated", "ratings": {"helpful": [6], "honest": None}}, status=422)
    assert "does not offer that" in refused["detail"]


def test_offering_it_and_defining_an_aspect_begin_no_new_version(store: Store) -> None:
    fill_kind(store, "rating", aspects=ASPECTS)
    judge(
        client_of(store),
        desk(client_of(store))["cards"][0],
        {"verdict": "rated", "ratings": {"helpful": [6], "honest": [1]}},
    )
    before = store.version("main")
    store.add_campaign(store.campaigns()[0].model_copy(update={"definitions": MEANING, "not_applicable": True}))
    assert store.version("main") == before
