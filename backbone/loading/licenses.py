"""Under which licence a base is, as its own files say, and what that leaves to choose for what is made from it.

Licences are named by the hub's ids. Reading one is no legal advice: what is not recognised counts as unknown, and then
whoever publishes has to say the licence. It needs no torch.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from backbone.loading.model_folder import demo_folder, is_demo
from foundation.errors import UserError
from foundation.files import read_json

DEMO_LICENSE = "apache-2.0"
OTHER = "other"
_FILES = ("LICENSE", "LICENSE.md", "LICENSE.txt", "LICENCE", "COPYING")
_AGREED = ("llama", "gemma", "apple-", "deepseek", "intel-research", "h-research", OTHER)
"""How ids of licences begin that say for themselves what may be passed on, and that ask for consent."""
_CARRIED = {"nc": "non-commercial", "sa": "share-alike"}
_TEXTS = (
    (r"^\s*Apache License\s*\n\s*Version 2\.0", "apache-2.0"),
    (r"Permission is hereby granted, free of charge, to any person(?! or organization)", "mit"),
    (r"GNU AFFERO GENERAL PUBLIC LICENSE\s+Version 3", "agpl-3.0"),
    (r"GNU GENERAL PUBLIC LICENSE\s+Version 3", "gpl-3.0"),
    (r"BSD 3-Clause", "bsd-3-clause"),
    (r"(?:LLAMA|Llama) (\d(?:\.\d)?) COMMUNITY LICENSE", r"llama\1"),
    (r"Gemma Terms of Use", "gemma"),
)
_CHANGED = re.compile(
    r"\bmodified (MIT|Apache|BSD)\b|\b(MIT|Apache|BSD) license,? modified\b|\bour only modification\b",
    re.IGNORECASE,
)
"""What a text says of itself that has a known one's words, and terms besides."""
_CREATIVE_COMMONS = re.compile(
    r"(?:Creative Commons )?Attribution(?P<nc>-NonCommercial)?(?:(?P<nd>-NoDerivatives)|(?P<sa>-ShareAlike))? "
    r"(?P<version>\d\.\d) International"
)


def license_of(*models: str) -> str | None:
    """The licence of a base by its hub id, `other` if it has one of its own, None if nothing says which.

    `models` are names that the base goes by, and the first that tells counts. Its card comes first, then its licence
    file, then its configuration. Of a hub id, the card and `LICENSE` are fetched if they can be.
    """
    return next((found for model in models if (found := _license(model))), None)


def _license(model: str) -> str | None:
    if is_demo(model) or Path(model).resolve() == demo_folder().resolve():
        return DEMO_LICENSE  # the PyPI package brings no card
    if (card := _read(model, "README.md")) and (told := _on_card(card)):
        return told
    for name in _FILES if Path(model).is_dir() else _FILES[:1]:
        if text := _read(model, name):
            return next(_recognised(text), OTHER)
    config = Path(model) / "config.json"
    told = read_json(config).get("license") if config.is_file() else None
    return told.lower() if isinstance(told, str) and told else None


def license_for(own: str | None, said: str | None, name: str) -> str:
    """The licence of what is made from the base `name`: the one that was `said`, or else the base's `own`.

    `UserError` if the base's licence is not known, forbids derivatives or asks for consent and none was said, or if the
    one that was said takes less upon itself than it must.
    """
    if said is None:
        say_it = "say under which it may be published: --license ID, an id of the hub's such as apache-2.0"
        if own is None:
            raise UserError(f"nothing says under which licence {name} is: read its terms, and {say_it}.")
        if "nd" in own.split("-"):
            raise UserError(
                f"the licence of {name}, {own}, forbids to publish what is made from it. If its owner allows it to "
                f"you, {say_it}."
            )
        if own.startswith(_AGREED):
            raise UserError(
                f"the licence of {name}, {own}, has terms of its own that you and whoever uses this must agree to. "
                f"Read them, and {say_it}; --license {own} carries them over."
            )
        return own
    for part, meaning in _CARRIED.items():
        if own and part in own.split("-") and part not in said.split("-"):
            raise UserError(
                f"{name} is {meaning} ({own}), and so is what is made from it: {said} would take that away. Say "
                f"--license {own}, or leave it out."
            )
    return said


def _on_card(text: str) -> str | None:
    """What a card's metadata say; `other` if the model is handed out only to who agreed to something."""
    import yaml

    parts = text.split("---\n", 2)
    try:
        data = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else None
    except yaml.YAMLError:
        return None
    if not isinstance(data, dict):
        return None
    found = data.get("license")
    told = str(found[0] if isinstance(found, list) and found else found or "").lower() or None
    gated = any(str(key).startswith("extra_gated") for key in data)
    return OTHER if gated and not (told or "").startswith(_AGREED) else told


def _recognised(text: str) -> Iterator[str]:
    start = text[:2000]
    if _CHANGED.search(text):
        return
    if found := _CREATIVE_COMMONS.search(start):
        marks = [mark for mark in ("nc", "nd", "sa") if found[mark]]
        yield "-".join(["cc-by", *marks, found["version"]])
    matches = ((re.search(pattern, start, re.MULTILINE), name) for pattern, name in _TEXTS)
    yield from (match.expand(name) for match, name in matches if match)


def _read(model: str, name: str) -> str | None:
    """A text that lies with the model, in its folder or on the hub; None if there is none, or no way to it."""
    path = Path(model) / name
    if not Path(model).is_dir():
        from huggingface_hub import hf_hub_download

        try:
            path = Path(hf_hub_download(model, name))
        except (OSError, ValueError):  # what the hub's client raises derives from these
            return None
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
