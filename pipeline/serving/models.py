"""Which models are served, by the names that clients call them: `base`, `champion`, `round-001`, or names of one's own.

All of them are adapters on one copy of the base. What cannot be served is refused before that is loaded.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backbone.loading.base_identity import base_beside, check_base, trained_on, weights_sha256
from backbone.loading.model_name import resolve_model
from foundation.errors import UserError
from foundation.files import read_json
from pipeline.champion.history import BASE, current
from pipeline.config.config import Config
from pipeline.runs.folder import Run

if TYPE_CHECKING:
    from backbone.adapters import SharedBase

CHAMPION = "champion"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Folders = Mapping[str, Path | None]
"""The folder of each model's adapter by its name; None: the base as it is."""


def models_of(run: Run, config: Config) -> Folders:
    """The base, the champion, and the policy of each round; `UserError` if the run has no adapter yet."""
    made = {run.at(number).folder.name: run.at(number).folder / "policy" for number in run.rounds()}
    rounds = {name: folder for name, folder in made.items() if folder.is_dir()}
    if not rounds:
        raise UserError(
            f"the run {run.path} has no adapter yet. Make one by `rlhf policy --run {run.argument}`, or serve a model "
            "without one: `rlhf serve --base MODEL`."
        )
    return {BASE: None, CHAMPION: current(run, config).adapter, **rounds}


def named_models(adapters: Sequence[str]) -> Folders:
    """The base, and adapters that were named as in `formal=runs/formal/round-000/export`."""
    found: dict[str, Path | None] = {BASE: None}
    for given in adapters:
        name, _, folder = given.partition("=")
        if not folder or not NAME.fullmatch(name):
            raise UserError(f'--adapter "{given}": write NAME=FOLDER, the name in letters, digits, ".", "_" and "-".')
        if name in found:
            raise UserError(f'--adapter {given}: there is a model "{name}" already. Choose another name.')
        found[name] = Path(folder)
    return found


def check_adapters(folders: Folders, model: str) -> None:
    """Raise `UserError` if an adapter is not there, or was trained on other weights than those of `model`."""
    base = resolve_model(model)
    for name, folder in folders.items():
        if folder is None:
            continue
        if not (folder / "adapter_config.json").is_file():
            raise UserError(f'the adapter "{name}" is not in {folder}: there is no adapter_config.json in that folder.')
        named = read_json(folder / "adapter_config.json").get("base_model_name_or_path")
        different = check_base(folder, base_beside(folder, named) if named else None, base)
        if different and trained_on(folder) and weights_sha256(base):
            raise UserError(f"{different} Served together, all adapters need one base: name that one by --base.")


def sources_of(folders: Folders, config: Config) -> dict[str, dict[str, Any]]:
    """What the label store is told of who wrote an answer, by the model's name."""
    sampling = config.collect.sampling
    drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    return {
        name: {"model": config.model, "adapter": f"{folder.parent.name}/{folder.name}" if folder else None, **drawn}
        for name, folder in folders.items()
    }


def load(folders: Folders, config: Config) -> "tuple[SharedBase, dict[str, str | None]]":
    """The base with all adapters on it, and the name on the base of each model's adapter.

    An adapter that has two names is loaded once.
    """
    from backbone.exactness import load_shared_base

    base = load_shared_base(config.model, config.dtype, config.device, config.template, config.quantization)
    loaded: dict[Path, str] = {}
    names: dict[str, str | None] = {}
    for name, folder in folders.items():
        if folder is not None and folder not in loaded:
            loaded[folder] = f"served_{len(loaded)}"
            base.load_adapter(loaded[folder], folder)
        names[name] = None if folder is None else loaded[folder]
    return base, names
