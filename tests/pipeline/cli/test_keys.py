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
    assert "there is no key" in rlhf("keys", "revoke", name, "--run", run, status=2)
