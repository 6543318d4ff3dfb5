"""What attacks are measured by: the security log, and all that people can change."""

from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from labeling_ui.store import tables
from tests.labeling_ui.signed_in import LabelingApp

TIE = {"verdict": "tie"}


def written(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.name == "rlhf.security"]


def rows(site: LabelingApp) -> str:
    """All that people can change, to see that nothing did."""
    with site.store.database.read() as connection:
        watched = (tables.annotators, tables.invitations, tables.events, tables.judgements, tables.campaigns)
        return str([connection.execute(sa.select(table)).all() for table in watched])


def desk(client: TestClient) -> dict[str, Any]:
    return dict(client.get("/api/desk").json())
