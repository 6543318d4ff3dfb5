"""The export stage's settings."""

from pathlib import PurePath

from pydantic import Field, field_validator

from backbone.loading.model_folder import is_hub_id
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

    @field_validator("base")
    @classmethod
    def _check_base(cls, base: str | None) -> str | None:
        if base is not None and not is_hub_id(base, with_owner=False) and not PurePath(base).is_absolute():
            raise ValueError("it is neither a hub id, as in someone/model, nor an absolute path")
        return base

    @property
    def of_adapter(self) -> "ExportConfig":
        """What of it the exported adapter depends on: not the labels' licence."""
        return self.model_copy(update={"labels_license": None})
