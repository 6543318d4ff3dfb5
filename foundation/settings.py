"""The base of every stage's configuration: frozen, and refusing fields that it does not know."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

_READ_AS = {True: {"on", "yes", "true", "y"}, False: {"off", "no", "false", "n"}}


class Settings(BaseModel):
    """A stage's configuration stands beside the stage and derives from this."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _choices_that_yaml_reads_as_truth(cls, values: Any) -> Any:
        """YAML reads a bare `off` as false: where a choice of that name is meant, take it for what was written."""
        if not isinstance(values, Mapping):
            return values
        meant: dict[str, str] = {}
        for name, value in values.items():
            if isinstance(value, bool) and name in cls.model_fields:
                written = [each for each in choices(cls.model_fields[name].annotation) if each in _READ_AS[value]]
                meant |= {name: written[0]} if len(written) == 1 else {}
        return {**values, **meant} if meant else values


def choices(annotation: Any) -> list[str]:
    """The texts among which a field of this type chooses; none if it is no choice of texts."""
    return [each for each in _literals(annotation) if isinstance(each, str)]


def _literals(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    else:
        for inner in get_args(annotation):
            yield from _literals(inner)


def _http(address: str) -> str:
    if not address.startswith(("http://", "https://")):
        raise ValueError("give an address that begins with http:// or https://")
    return address


HttpAddress = Annotated[str, AfterValidator(_http)]
"""The address of a server that a stage asks."""
