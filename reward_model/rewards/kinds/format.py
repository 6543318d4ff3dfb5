"""Format: whether a response matches a regular expression, is JSON, or is valid against a JSON Schema."""

import json
from typing import Any, Self

from pydantic import Field, model_validator

from foundation.errors import UserError
from reward_model.rewards.interface import Given, Kind, Reward, per_text
from reward_model.rewards.kinds.json_schema import check_schema, compiled, valid


class Format(Kind):
    """1 for a response of the right form, 0 otherwise."""

    pattern: str | None = Field(None, description="a regular expression that the whole response must match")
    parsed: bool = Field(False, description="whether the response must be JSON")
    fits: dict[str, Any] | None = Field(None, description="a JSON Schema that it must be valid against")
    seconds: float = Field(1.0, gt=0, description="longest that matching one response may take")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.pattern is None and not self.parsed and self.fits is None:
            raise ValueError("give pattern, parsed or fits")
        if self.pattern is not None:
            compiled(self.pattern)
        if self.fits is not None:
            check_schema(self.fits)
        return self

    def make(self, given: Given) -> Reward:
        """See `Kind`."""
        pattern = None if self.pattern is None else compiled(self.pattern)

        def value(text: str) -> float:
            try:
                if pattern is not None and not pattern.fullmatch(text, timeout=self.seconds):
                    return 0.0
            except TimeoutError as error:
                raise UserError(
                    f'the pattern of the reward "format" took longer than {self.seconds:g} s on one response: nested '
                    "repetitions such as (a+)+ take for ever. Make it simpler, or raise `seconds`."
                ) from error
            if not self.parsed and self.fits is None:
                return 1.0
            try:
                found = json.loads(text, parse_constant=_refuse)
                return float(self.fits is None or valid(found, self.fits))
            except (ValueError, RecursionError):
                return 0.0

        return per_text(value)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
