"""The export stage's settings."""

from pydantic import Field

from foundation.settings import Settings


class ExportConfig(Settings):
    """What the export says of itself."""

    base: str | None = Field(
        None,
        min_length=1,
        description="the base's name in the export and its card; null: its hub id, or else its absolute path",
    )
    license: str | None = Field(
        None,
        min_length=1,
        description="licence of what is exported, by its hub id; null: the base's own, if its files say",
    )
    labels_license: str | None = Field(
        None, min_length=1, description="licence of the labels, by its hub id: asked for before they go to the hub"
    )

    @property
    def of_adapter(self) -> "ExportConfig":
        """What of it the exported adapter depends on: not the labels' licence."""
        return self.model_copy(update={"labels_license": None})
