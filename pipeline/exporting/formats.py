"""`rlhf export --to`: the exported adapter as a merged model, as GGUF, or with a Modelfile for Ollama.

Each is made from the PEFT folder and carries its card and its lineage. A folder is written whole or not at all; what
would refuse it is found out before anything is merged, as far as it can be known.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from rich.console import Console

from backbone.loading.base_identity import base_beside
from backbone.loading.model_name import resolve_model
from foundation.errors import UserError
from foundation.files import publish_folder, read_json
from pipeline.config.config import Config
from pipeline.runs.folder import Run

Format = Literal["peft", "merged", "gguf", "ollama"]
FORMATS: tuple[Format, ...] = ("peft", "merged", "gguf", "ollama")
Dtype = Literal["float32", "bfloat16"]


def export_as(run: Run, config: Config, console: Console, to: Format, out: Path | None, dtype: Dtype | None) -> None:
    """Make `out` from the run's export, or only show what would be in it."""
    with tempfile.TemporaryDirectory(dir=run.path, prefix=".dry-run-") as scratch:
        made = out or Path(scratch) / to
        name = f"{run.name}-{run.folder.name}"
        files = write(to, run.artifact("export"), made, name, dtype, resolve_model(config.model))
        for line in shown(files, made):
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    said = f"written to {out}" if out else "none of them is kept"
    console.print(f"export: {len(files)} files, {said}", markup=False, highlight=False, soft_wrap=True)


def write(
    to: Format, exported: Path, out: Path, name: str, dtype: Dtype | None = None, model: str | None = None
) -> list[Path]:
    """Make `out` from the PEFT folder `exported`; returns its files. `name` is that of GGUF files.

    `dtype` is that of merged weights, by default the base's own. `model` is where the base is, if not where the folder
    says. `UserError` if `out` exists, or if the model is none
    that the format can hold.
    """
    if out.exists():
        raise UserError(f"{out} exists already. Choose a new folder, or remove this one.")
    _MAKERS[to](_Source(exported, model), out, name, dtype)
    return sorted(path for path in out.rglob("*") if path.is_file())


def shown(files: list[Path], root: Path) -> list[str]:
    """One line a file, with its size."""
    return [f"{path.relative_to(root).as_posix()}  {path.stat().st_size:,} bytes" for path in files]


@dataclass(frozen=True)
class _Source:
    """A PEFT folder, and where its base is, if not where it says."""

    exported: Path
    model: str | None

    @property
    def named(self) -> str:
        """The base as the folder names it."""
        return str(read_json(self.exported / "adapter_config.json")["base_model_name_or_path"])

    @property
    def base(self) -> str:
        """The base as transformers loads it."""
        return resolve_model(self.model or base_beside(self.exported, self.named))


def _peft(source: _Source, out: Path, name: str, dtype: Dtype | None) -> None:
    if dtype:
        raise UserError("an adapter is written in float32; --dtype is for merged weights.")
    with _partial(out) as partial:
        shutil.copytree(source.exported, partial, dirs_exist_ok=True)


def _merged(source: _Source, out: Path, name: str, dtype: Dtype | None) -> None:
    from policy.export import merge

    merge(source.exported, out, source.model, dtype, base=source.named)


def _gguf(source: _Source, out: Path, name: str, dtype: Dtype | None) -> None:
    from backbone.publishing.gguf_files import write_adapter

    _check(source)
    with _partial(out) as partial:
        write_adapter(source.exported, source.base, partial / f"{name}-adapter.gguf", f"{name} adapter")
        used = _merged_gguf(source, partial, name, dtype)
        lines = f"llama-cli -m {name}.gguf\nllama-cli -m BASE.gguf --lora {name}-adapter.gguf    # the same on its base"
        _add_card(source, partial, lines, used, "Files for llama.cpp: base and adapter in one, and the adapter alone.")


def _ollama(source: _Source, out: Path, name: str, dtype: Dtype | None) -> None:
    from transformers import AutoTokenizer

    from backbone.publishing.modelfile import modelfile
    from foundation.files import write_text

    _check(source)
    text = modelfile(AutoTokenizer.from_pretrained(source.exported), f"{name}.gguf", _license(source.exported))
    with _partial(out) as partial:
        used = _merged_gguf(source, partial, name, dtype)
        write_text(partial / "Modelfile", text)
        _add_card(source, partial, f"ollama create {name} -f Modelfile\nollama run {name}", used, "For Ollama.")


_MAKERS: Mapping[Format, Callable[[_Source, Path, str, Dtype | None], None]] = {
    "peft": _peft, "merged": _merged, "gguf": _gguf, "ollama": _ollama,
}  # fmt: skip


class _partial:
    """A folder that gets the name `out` when everything is in it, and vanishes if something fails."""

    def __init__(self, out: Path) -> None:
        self.out, self.path = out, out.with_name(f".{out.name}.partial")

    def __enter__(self) -> Path:
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        return self.path

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            publish_folder(self.path, self.out)
            return
        shutil.rmtree(self.path, ignore_errors=True)
        if isinstance(error, OSError):
            raise UserError(
                f"cannot write {self.out}: {error}. Nothing was written; free some space or choose another folder."
            ) from error


def _check(source: _Source) -> None:
    """Refuse what cannot be written as GGUF, before anything is merged."""
    from transformers import AutoConfig

    from backbone.publishing.gguf_files import known
    from backbone.publishing.gguf_vocabulary import check_tokenizer

    known(AutoConfig.from_pretrained(source.base), Path(source.base))
    check_tokenizer(source.exported)


def _merged_gguf(source: _Source, folder: Path, name: str, dtype: Dtype | None) -> Dtype:
    from backbone.merging import saved_dtype
    from backbone.publishing.gguf_files import write_model
    from policy.export import merge

    used: Dtype = dtype or ("float32" if saved_dtype(source.base) == "float32" else "bfloat16")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".merging-") as scratch:
        merge(
            source.exported, Path(scratch) / "merged", source.model, "float32"
        )  # rounded once, when the file is written
        write_model(Path(scratch) / "merged", folder / f"{name}.gguf", used, name)
    return used


def _license(exported: Path) -> str | None:
    from huggingface_hub import ModelCard

    card = exported / "README.md"
    found = ModelCard.load(card).data.license if card.is_file() else None
    return str(found) if found else None


def _add_card(source: _Source, folder: Path, lines: str, dtype: Dtype, what: str) -> None:
    from backbone.publishing.cards import write_merged_card
    from backbone.publishing.gguf_vocabulary import composes

    said = f"{what} Written with the package gguf {version('gguf')}."
    if composes(source.exported):
        said += " Give it composed letters (Unicode's NFC): the tokenizer composes them by itself, llama.cpp does not."
    write_merged_card(
        folder, source.exported, source.named, lines, dtype, "text-generation",
        library="gguf", language="sh", what=said,
    )  # fmt: skip
    if (source.exported / "lineage.json").is_file():
        shutil.copyfile(source.exported / "lineage.json", folder / "lineage.json")
