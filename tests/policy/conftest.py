"""What the policy tests share."""

from pathlib import Path

import pytest

from backbone.adapters import SharedBase
from tests import shared_base


@pytest.fixture
def base(tiny_model: Path) -> SharedBase:
    """The tiny model without adapters, anew for each test."""
    return shared_base.load(tiny_model)
