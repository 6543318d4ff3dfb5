"""The export stage's settings."""

from pydantic import Field

from foundation.settings import Settings


class ExportConfig(Settings):
    """What the export says of itself."""

    license: str = Field(
        "apache-2.0", description="licence of the adapter, by its hub id; the base's own must allow it"
    )
