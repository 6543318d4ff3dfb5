"""Files as a whole: broken ones leave no trace, and either database takes every kind of answer."""

import json
from pathlib import Path

import pytest

from foundation.errors import UserError
from labeling_ui.campaign import Campaign
from labeling_ui.exchange.exports.registry import KINDS, export
from labeling_ui.exchange.imports import import_file
from labeling_ui.store.store import Store
from tests.labeling_ui.exchange.importers.taking import PAIRS, RANKING, RATING, battle, own, take


def test_a_person_and_a_simulated_annotator_of_one_name_stop_the_import(store: Store) -> None:
    store.annotator("robot", simulated=True)
    rows = [own({"verdict": "tie"}, "x", "y", annotator="ann"), own({"verdict": "tie"}, annotator="robot")]
    with pytest.raises(UserError, match=r'line 2: "robot" is at once a person and a simulated annotator'):
        take(store, "answers", rows)
    assert store.counts().prompts == 0
    assert [each.name for each in store.annotators()] == ["robot"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"prompt": "caf\xe9"}', "line 1: not UTF-8"),
        (b'[{"prompt": "caf\xe9"}]', "not UTF-8 text"),
        ("[]".encode("utf-16"), "line 1: not UTF-8"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"a": ' * 100_000, "line 1: not valid JSON"),
        (b'{"id": ' + b"9" * 5000 + b"}", "line 1: not valid JSON"),
        (b"[]", "holds no records"),
        (b"\xef\xbb\xbf \n", "not valid JSON"),
    ],
)
@pytest.mark.parametrize("format", ["trl", "argilla", "labelstudio", "arena", "answers"])
def test_a_broken_file_is_one_message_and_leaves_no_trace(
    store: Store, tmp_path: Path, format: str, content: bytes, told: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(UserError, match=told):
        import_file(store, format, path)
    assert store.campaigns() == []


def test_a_file_that_breaks_off_stores_nothing_of_what_came_before(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "file"
    lines = [json.dumps(battle("model_a", str(number))) for number in range(1200)]
    path.write_text("\n".join([*lines, lines[0][:50]]), encoding="utf-8")
    with pytest.raises(UserError, match="line 1201: not valid JSON"):
        import_file(store, "arena", path)
    assert store.counts().prompts == 0


def test_a_campaign_keeps_its_own_settings_when_more_is_imported(store: Store) -> None:
    store.add_campaign(Campaign(name="main", overlap=3))
    take(store, "answers", [own({"verdict": "tie"})], Campaign(overlap=1))
    assert store.campaigns()[0].overlap == 3


def test_either_database_takes_and_gives_every_kind(store_url: str, tmp_path: Path) -> None:
    store = Store(store_url)
    ranked = {"verdict": "ranked", "ranking": [[2], [0], [1]]}
    rated = {"verdict": "rated", "ratings": {"helpful": [5]}}
    for campaign, row in (
        (PAIRS, own({"verdict": "preferred", "winner": 1, "strength": 3, "rationale": "Größe 大"})),
        (RANKING, own(ranked, "a", "b", "c")),
        (RATING, own(rated, "d")),
    ):
        path = tmp_path / campaign.name
        path.write_text(json.dumps(row), encoding="utf-8")
        assert import_file(store, "answers", path, campaign).taken == 1
        assert import_file(store, "answers", path, campaign).already_there == 1
    gold = tmp_path / "gold"
    gold.write_text(json.dumps(own({"verdict": "tie"}, "x", "y")), encoding="utf-8")
    assert import_file(store, "answers", gold, PAIRS, gold=True).taken == 1
    rows = {kind: len(export(store, kind)) for kind in KINDS}
    assert rows == {
        "preferences": 4, "rankings": 3, "ties": 0, "soft": 0, "orders": 1, "unpaired": 5, "prompts": 1, "ratings": 1,
        "answers": 3,
    }  # fmt: skip
    assert store.verify() == []
    store.close()
