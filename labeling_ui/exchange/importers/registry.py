"""The formats of judgements that can be imported, by name; a new one is added here, with a line in `FORMATS`.

Listing the formats imports nothing else: the code of a format is loaded when it is used. A file is JSON Lines or one
JSON array. A record without anything usable is a `Refusal`; a file that is not of the format raises `UserError` with
line and field. In a JSON array the "line" is the record's number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labeling_ui.exchange.importers.judged_items import Format


@dataclass(frozen=True, slots=True)
class Importer:
    """What a file of this format is, and where its `Format` is, as "module:name"."""

    description: str
    code: str

    def load(self) -> "Format":
        """How a record is read."""
        module, _, name = self.code.partition(":")
        found: Format = getattr(import_module(f"{__package__}.{module}"), name)
        return found


FORMATS: Mapping[str, Importer] = {
    "trl": Importer("TRL's preference formats: chosen, rejected, and perhaps prompt and margin", "trl:FORMAT"),
    "hh": Importer("Anthropic's hh-rlhf", "hh_rlhf:FORMAT"),
    "finegrained": Importer("FineGrainedRLHF", "finegrained_rlhf:FORMAT"),
    "oasst": Importer("OpenAssistant: ranked pairs, or message trees", "open_assistant:FORMAT"),
    "pandalm": Importer("PandaLM's test set", "pandalm:FORMAT"),
    "argilla": Importer("Argilla's records, versions 1 and 2", "argilla:FORMAT"),
    "labelstudio": Importer("Label Studio's JSON export", "label_studio:FORMAT"),
    "arena": Importer("Chatbot Arena's votes", "chatbot_arena:FORMAT"),
    "answers": Importer("this project's own: an answer of any kind", "answers_and_ratings:ANSWERS"),
    "ratings": Importer("this project's own ratings.jsonl", "answers_and_ratings:RATINGS"),
}
