"""`rlhf keys`: made, listed and revoked at the command line."""

import re
from pathlib import Path

from labeling_ui.people.api_keys import owner_of
from labeling_ui.store.store import Store
from tests.pipeline.cli.test_users_and_labels import rlhf


def test_a_key_is_printed_once_listed_by_its_name_and_revoked(tmp_path: Path) -> None:
    run = tmp_path / "run"
    key = rlhf("keys", "add", "Ann", "--run", run).splitlines()[0]
    listed = rlhf("keys", "list", "--run", run)
    assert key not in listed
    (name,) = re.findall(r"\b[0-9a-f]{8}\b", listed)
    assert "Ann" in listed
    store = Store(run / "labels.db")
    assert owner_of(store.database, key)
    assert "of Ann lets nobody in any more" in rlhf("keys", "revoke", name, "--run", run)
    assert owner_of(store.database, key) is None
    store.close()
    assert f'there is no key "{name}"' in rlhf("keys", "revoke", name, "--run", run, status=2)


def test_a_new_key_says_how_it_is_ended_and_is_ended_by_itself_too(tmp_path: Path) -> None:
    run = tmp_path / "run"
    key, said = rlhf("keys", "add", "Ann", "--run", run).splitlines()
    found = re.search(rf"Its id is ([0-9a-f]{{8}}): `rlhf keys revoke \1 --run {run}` ends it", said)
    assert found, said
    told = rlhf("keys", "revoke", key, "--run", run)
    assert f"keys: {found[1]} of Ann lets nobody in any more." in told
    again = rlhf("keys", "revoke", key, "--run", run, status=2)
    assert "there is no key of that id, and none that is this one" in again
    assert key not in told + again
