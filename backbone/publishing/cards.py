"""Cards in the hub's format: what a card of a merged model takes over from its adapter's, and what it says instead."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from foundation.files import write_text

CARD = "README.md"
_LOAD = re.compile(r"^## Load it\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(name: str) -> bool:
    """Whether this has the form of a name on the hub, `owner/name`."""
    return bool(_HUB_ID.fullmatch(name)) and ".." not in name and not name.startswith(("models/", "datasets/"))


def front_matter(base: str, **fields: Any) -> str:
    """A card's head. The hub takes ids of its own for a base, and no paths: such a base is named in the text alone."""
    named = {"base_model": base} if is_hub_id(base) else {}
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in {**named, **fields}.items()]
    return f"---\n{''.join(lines)}---\n"  # JSON is YAML, and no value can break out of its line


def model_index(name: str, task: str, metrics: Sequence[tuple[str, str, float]]) -> dict[str, Any]:
    """Figures in the form in which the hub shows them beside a model: (type, name, value) each, weightiest first."""
    if not metrics:
        return {}
    result = {
        "task": {"type": task},
        "dataset": {"type": "private", "name": "held-out prompts of the run"},
        "metrics": [{"type": kind, "name": title, "value": round(value, 6)} for kind, title, value in metrics],
    }
    return {"model-index": [{"name": name, "results": [result]}]}


def write_merged_card(folder: Path, adapter: Path, base: str, snippet: str, dtype: str, task: str, **said: str) -> None:
    """Write the card of the model in `folder`, which `adapter` was merged into `base` to make.

    It has all that the adapter's card says, but for how to load it: that is `snippet`. An adapter without such a card,
    one from elsewhere, gives a short one. What else is `said`: see `merged_card`.
    """
    card = adapter / CARD
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    write_text(folder / CARD, merged_card(text, base, snippet, dtype, task, **said))


def merged_card(
    card: str,
    base: str,
    snippet: str,
    dtype: str,
    task: str,
    *,
    library: str = "transformers",
    language: str = "python",
    what: str = "Base and adapter in one model: it needs no PEFT.",
) -> str:
    """As `write_merged_card`, from the text of the adapter's card, and as text.

    `library` is the hub's name of what loads it, `language` that of the snippet, `what` says what lies in the folder.
    """
    rounded = (
        ""
        if dtype == "float32"
        else f" The sum is rounded to {dtype}, so it is not quite what was measured, which was the adapter on its base."
    )
    what = f"{what} Its weights are in {dtype}.{rounded}\n\n"
    load = f"## Load it\n\n```{language}\n{snippet}\n```\n\n"
    parts = card.split("---\n", 2)
    if len(parts) < 3 or not _LOAD.search(card):
        name = " ".join(base.split()).replace("`", "'")
        head = front_matter(base, library_name=library, pipeline_tag=task, base_model_relation="merge")
        return f"{head}\n# Merged model\n\n{what}The base is `{name}`.\n\n{load}"
    data: dict[str, Any] = yaml.safe_load(parts[1])
    data |= {"library_name": library, "pipeline_tag": task}
    data["tags"] = [tag for tag in data.get("tags", []) if tag != "lora"]
    if rounded:
        data.pop("model-index", None)  # which would say that this model was measured
    relation = {"base_model_relation": "merge"} if "base_model" in data else {}
    head = front_matter(str(data.pop("base_model", "")), **relation, **data)
    text = _LOAD.sub(lambda _: load, parts[2], count=1)
    return head + re.sub(
        r"^(# .*)\n\n", lambda title: f"{title[1]}, merged\n\n{what}", text, count=1, flags=re.MULTILINE
    )
