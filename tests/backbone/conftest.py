"""What the backbone's tests share."""

from pathlib import Path

import pytest

from backbone.adapters import SharedBase
from backbone.loading.model_name import resolve_model
from foundation.errors import UserError
from tests import shared_base


@pytest.fixture
def base(tiny_model: Path) -> SharedBase:
    """The tiny model without adapters, anew for each test."""
    return shared_base.load(tiny_model)


@pytest.fixture(scope="session")
def demo_model() -> Path:
    """The demo model, converted before or fetched now; skipped where there is neither it nor a network."""
    try:
        return Path(resolve_model("demo"))
    except UserError as error:
        pytest.skip(f"no demo model: {error}")
