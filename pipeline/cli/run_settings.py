"""The settings that a command gives to its run: recorded, put back where it is refused, and told where they are lost.

A run's `config.yaml` is what its next command takes up. Settings with which nothing could be made do not stay in it.
Until a command ends well, `.config.yaml.former` keeps what was there before, with what had been made by then: a command
that was killed and one that is refused after it are told apart by what was made in between.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundation.errors import UserError
from foundation.files import read_json, write_json, write_text
from pipeline.cli.exit_status import complain
from pipeline.cli.known_runs import with_run
from pipeline.config import sources

if TYPE_CHECKING:
    from pipeline.config.config import Config
    from pipeline.runs.folder import Run

_PREPARATIONS = {"prompts", "preferences", "other_labels"}
"""Stages that are made again in a moment: that they were made says little for the settings."""
_NAMING = ("model", "collect.prompts", "reward.initial", "policy.initial")
"""Settings that name a file, a folder or a model, which refusals are often about."""
_TOLD = 4
_LONGEST = 40


@contextmanager
def settings_kept(run: "Run", config: "Config", file: Path | None, overrides: Sequence[str]) -> Iterator[None]:
    """Record `config` as the run's; a `UserError` before anything was made with it puts the former one back."""
    former = run.path / ".config.yaml.former"
    made = _made(run)
    if not former.is_file() or read_json(former)["made"] != made:
        write_json(former, {"made": made, "text": _text(run.config_file)})
    if file is not None:
        _tell_replaced(run, config, file, overrides)
    sources.save(config, run.config_file)
    try:
        yield
    except (UserError, OSError) as error:  # a disk that is full, say
        kept = read_json(former)
        changed = _text(run.config_file) != kept["text"] and not set(_made(run)) - set(kept["made"])
        if changed:
            _put_back(run.config_file, kept["text"])
        former.unlink()
        if changed and (file or overrides) and isinstance(error, UserError):
            again = "None of this command's settings were recorded: give them again with what is corrected."
            raise UserError(f"{error}\n{again}") from error
        raise
    former.unlink()


@contextmanager
def told_for_run(run: "Run", config: "Config", file: Path | None, overrides: Sequence[str]) -> Iterator[None]:
    """Let a `UserError` name the run in its commands, and the setting that names what it speaks of, and where it is."""
    from pipeline.config.config import Config, origin_of

    try:
        yield
    except UserError as error:
        values, defaults = _values(config), _values(Config())
        named = [name for name in _NAMING if values[name] != defaults[name] and _speaks_of(error, values[name])]
        where = {name: origin_of(name, file, run.config_file, overrides) for name in named}
        told = [f"This is what {name} says ({place})." for name, place in where.items() if place]
        raise UserError("\n".join([with_run(str(error), run.path), *told])) from error


def _tell_replaced(run: "Run", config: "Config", file: Path, overrides: Sequence[str]) -> None:
    """Say which settings of the run fall back to their defaults, for `file` replaces all of them."""
    from pipeline.config.config import Config, given

    if not run.config_file.is_file():
        return
    try:
        before = _values(sources.load(Config, run.config_file, (), {}))
    except UserError:  # it is of another version, and cannot be taken up either
        return
    now, said = _values(config), sources.flat(given(file, overrides))
    lost = [
        f"{name} {_brief(value)} -> {_brief(now.get(name))}"
        for name, value in before.items()
        if now.get(name) != value and not any(name == each or name.startswith(f"{each}.") for each in said)
    ]
    if lost:
        more = f", and {len(lost) - _TOLD} more" if len(lost) > _TOLD else ""
        complain(
            f"note: --config replaces the run's whole configuration; back to their defaults: {', '.join(lost[:_TOLD])}"
            f"{more}."
        )


def _made(run: "Run") -> list[str]:
    """What the stages of the run made so far, and what unfinished ones have written."""
    made = []
    for at in (run.at(number) for number in run.rounds()):
        records = at.manifest().stages.values()
        made += [f"{at.round} {each.name} {each.finished}" for each in records if each.name not in _PREPARATIONS]
        for path in sorted(at.folder.glob(".*.partial/**/*")):
            made.append(f"{path.relative_to(run.path)} {path.stat().st_mtime_ns}")
    return made


def _text(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _put_back(file: Path, text: str | None) -> None:
    if text is None:
        file.unlink(missing_ok=True)
    else:
        write_text(file, text)


def _values(config: "Config") -> dict[str, Any]:
    """The settings by their dotted names; `rewards` is one of them."""
    values = config.model_dump(mode="json")
    return sources.flat({name: value for name, value in values.items() if name != "rewards"}) | {
        "rewards": values["rewards"]
    }


def _speaks_of(error: UserError, value: object) -> bool:
    """Whether the message has the value as a word or a path of its own, and not as a part of one."""
    return re.search(rf"(?<![\w./-]){re.escape(str(value))}(?![\w/-])", str(error)) is not None


def _brief(value: object) -> str:
    text = (
        "unset" if value is None else json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)
    )
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
