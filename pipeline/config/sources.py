"""Configuration read in layers, with errors that name the layer that was wrong.

Defaults, a YAML file, the environment (`RLHF_POLICY__STEPS=200`), and `--set policy.steps=200`: later ones win.
Works for any pydantic model; the pipeline's own is in `config.py`.
"""

import difflib
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from foundation.errors import UserError
from foundation.files import write_text
from foundation.settings import choices

PREFIX = "RLHF_"
_NOT_CONFIG = {"RLHF_MODELS"}

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Layer:
    """Nested values from one place; `origin` names the place to the user, given the path of a field."""

    values: dict[str, Any]
    origin: str

    def has(self, path: Sequence[str]) -> bool:
        """Whether this layer says something about the field at `path`."""
        here: Any = self.values
        for key in path:
            if not isinstance(here, Mapping) or key not in here:
                return False
            here = here[key]
        return True

    def where(self, path: Sequence[str]) -> str:
        """How the user named the field at `path` in this layer."""
        if self.origin == "environment":
            return f"environment variable {PREFIX}{'__'.join(path).upper()}"
        return f"--set {'.'.join(path)}" if self.origin == "--set" else self.origin


def load(model: type[Model], file: Path | None, overrides: Sequence[str], environment: Mapping[str, str]) -> Model:
    """Read a `model` from its layers; `UserError` where any of them is wrong.

    `overrides` are `a.b=value`, the value in YAML, as it is in the environment.
    """
    layers = _layers(model, file, overrides, environment)
    try:
        return model.model_validate(_merged(layers))
    except ValidationError as error:
        raise UserError("\n".join(_explain(detail, model, layers) for detail in _telling(error))) from error


def given(
    model: type[BaseModel], file: Path | None, overrides: Sequence[str], environment: Mapping[str, str]
) -> dict[str, Any]:
    """What the layers of `load` say, nested, without any default."""
    return _merged(_layers(model, file, overrides, environment))


def origin(
    model: type[BaseModel], file: Path | None, overrides: Sequence[str], environment: Mapping[str, str],
    path: Sequence[str],
) -> str | None:  # fmt: skip
    """How the user named the field at `path` in the layer that decides it; None if it is at its default."""
    layers = reversed(_layers(model, file, overrides, environment))
    return next((layer.where(path) for layer in layers if layer.has(path)), None)


def save(config: BaseModel, path: Path) -> None:
    """Write the configuration as used, in a form that `load` reads."""
    head = "# The configuration as last used; a command on this run takes it up where no --config is given.\n"
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_text(path, head + text)


def field_names(model: type[BaseModel], prefix: str = "") -> list[str]:
    """The dotted names of every field that holds a value."""
    names: list[str] = []
    for name, field in model.model_fields.items():
        members = get_args(field.annotation) if field.discriminator else (field.annotation,)
        inner = [member for member in members if isinstance(member, type) and issubclass(member, BaseModel)]
        names += [each for member in inner for each in field_names(member, f"{prefix}{name}.")]
        if not inner:
            names.append(f"{prefix}{name}")
    return list(dict.fromkeys(names))


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by their dotted names; of a list of objects, each by its number."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
            value = {str(number): each for number, each in enumerate(value)}
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def document(model: type[BaseModel], indent: str = "") -> str:
    """YAML of every field at its default, each under its description."""
    lines: list[str] = []
    for name, field in model.model_fields.items():
        inner, default = field.annotation, field.get_default(call_default_factory=True)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            about = (inner.__doc__ or "").strip().partition("\n\n")[0]
            lines += ["", *_comment(about, indent), f"{indent}{name}:", document(inner, f"{indent}  ")]
        else:
            value = yaml.safe_dump({name: _plain(default)}, width=100)
            about = _with_choices(field.description or "", choices(field.annotation))
            lines += [*_comment(about, indent), *(f"{indent}{line}" for line in value.splitlines())]
    return "\n".join(lines)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_defaults=True)
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _with_choices(about: str, known: Sequence[str]) -> str:
    """A field's description with what may be chosen, if it does not name all of that itself."""
    said = set(re.findall(r"[\w-]+", about))
    return about if said.issuperset(known) else f"{about} ({', '.join(known[:-1])} or {known[-1]})"


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), 100, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _layers(
    model: type[BaseModel], file: Path | None, overrides: Sequence[str], environment: Mapping[str, str]
) -> list[Layer]:
    layers = [] if file is None else [_from_yaml(file)]
    return [*layers, _from_environment(model, environment), _from_overrides(overrides)]


def _merged(layers: Sequence[Layer]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in layers:
        _merge(merged, layer.values)
    return merged


def _from_yaml(path: Path) -> Layer:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the configuration {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason}). Save the file as UTF-8.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{where}: not valid YAML ({getattr(error, 'problem', None) or error}).") from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected fields and their values, such as 'seed: 1', found {type(values).__name__}.")
    return Layer(values, str(path))


def _from_environment(model: type[BaseModel], environment: Mapping[str, str]) -> Layer:
    values: dict[str, Any] = {}
    for name, text in environment.items():
        if name.upper().startswith(PREFIX) and name.upper() not in _NOT_CONFIG:
            path = name[len(PREFIX) :].lower().split("__")
            _put(values, path, text, f"environment variable {name}")
    return Layer(values, "environment")


def _from_overrides(overrides: Sequence[str]) -> Layer:
    values: dict[str, Any] = {}
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals or not all(name.split(".")):
            raise UserError(f"--set {override}: expected a field, an equals sign and a value, as in policy.steps=200.")
        _put(values, name.strip().split("."), text, f"--set {override}")
    return Layer(values, "--set")


def _put(values: dict[str, Any], path: Sequence[str], text: str, where: str) -> None:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{where}: the value is not valid YAML; put quotes around it.") from error
    for key in path[:-1]:
        inner = values.setdefault(key, {})
        if not isinstance(inner, dict):
            raise UserError(f'{where}: "{key}" was already given a value of its own.')
        values = inner
    values[path[-1]] = value


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value


def _telling(error: ValidationError) -> list[ErrorDetails]:
    """The mistakes, without a list's being too short where pydantic counts only the members that are right."""
    found = error.errors()
    inside = {each["loc"][:length] for each in found for length in range(len(each["loc"]))}
    return [each for each in found if each["type"] != "too_short" or each["loc"] not in inside]


def _explain(detail: ErrorDetails, model: type[BaseModel], layers: Sequence[Layer]) -> str:
    path: list[str] = []
    for part in map(str, detail["loc"]):
        # What pydantic puts between to tell the members of a union or a list apart is in none of the layers.
        if any(layer.has([*path, part]) for layer in layers):
            path.append(part)
    layer = next((layer for layer in reversed(layers) if layer.has(path)), layers[-1])
    where, name = layer.where(path), ".".join(path)
    if detail["type"] == "extra_forbidden":
        return f'{where}: unknown field "{name}". {_nearest(name, model)}'
    if detail["type"] == "missing":
        return f'{where}: the field "{".".join([*path, str(detail["loc"][-1])])}" is missing.'
    message = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    found = "" if _holds_secret(model, path) else f"; found {_brief(detail['input'])}"
    return f'{where}: the field "{name}" is wrong: {message}{found}.'


def _holds_secret(model: type[BaseModel], path: Sequence[str]) -> bool:
    """Whether the value at `path` is one that is never written down, or has one in it."""
    for name in path:
        field = model.model_fields.get(name)
        if field is None or field.exclude:
            return field is not None
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return False
        model = field.annotation
    return any(_holds_secret(model, [name]) for name in model.model_fields)


def _nearest(name: str, model: type[BaseModel]) -> str:
    known = [field for field in field_names(model) if field != name]  # it may be known to another member of a union
    near = [field for field in known if field.rpartition(".")[2] == name.rpartition(".")[2]]
    near = near or difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    section = name.rpartition(".")[0]
    siblings = [field for field in known if field.rpartition(".")[0] == section] or list(model.model_fields)
    return f"Known here: {', '.join(siblings)}."


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
