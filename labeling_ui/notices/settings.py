"""Where notices go. Addresses hold passwords and tokens: they are written down nowhere, and shown by kind alone."""

import hashlib
import hmac
from typing import Any

from pydantic import Field, SecretStr, field_validator

from foundation.settings import Settings


class NoticeSettings(Settings):
    """Who is told when a campaign is done, stalls, or agreement in it falls (docs/labeling.md)."""

    addresses: tuple[SecretStr, ...] = Field(
        (),
        exclude=True,
        max_length=10,
        description="where to, as apprise writes it: mailto://, jsons://, slack://. Secret, so the run does not keep "
        "it: give it in a --config file or as RLHF_LABEL__NOTICES__ADDRESSES",
    )
    stall_hours: float = Field(
        24, gt=0, le=8760, description="hours without an answer, while answers are lacking, that are a stall"
    )

    @field_validator("addresses", mode="before")
    @classmethod
    def _several(cls, given: Any) -> Any:
        """A text is taken apart at its spaces: in the environment, that is easier to write than a list."""
        return given.split() if isinstance(given, str) else given or ()

    @property
    def named(self) -> list[str]:
        """What each address is called where others can read it: its place, and the kind of service."""
        return [
            f"address {number} ({each.get_secret_value().partition('://')[0][:20]})"
            for number, each in enumerate(self.addresses, start=1)
        ]

    def keys(self, secret: str) -> list[str]:
        """By what the label store knows each address again: it tells nothing to whoever does not have the secret."""
        given = (each.get_secret_value().encode() for each in self.addresses)
        return [hmac.new(secret.encode(), each, hashlib.sha256).hexdigest()[:32] for each in given]
