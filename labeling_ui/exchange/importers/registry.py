"""The formats of judgements that can be imported, by name; a new one is added here, with a line in `FORMATS`.

Listing the formats imports nothing else: the code of a format is loaded when it is used. A record, or a vote, without
anything usable is a `Refusal` with its line; a file that is damaged, or not as the user says, raises `UserError`. In a
JSON array, Parquet or CSV the "line" is the record's number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labeling_ui.exchange.importers.layout import Format


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


UNJUDGED = "responses"
FORMATS: Mapping[str, Importer] = {
    "trl": Importer("TRL's preference formats: prompt, chosen, rejected; or prompt, completion, label", "trl:FORMAT"),
    "columns": Importer("any table of responses and a column that says which is better", "columns:FORMAT"),
    "hh": Importer("Anthropic's hh-rlhf", "published.hh_rlhf:FORMAT"),
    "finegrained": Importer("FineGrainedRLHF", "published.finegrained_rlhf:FORMAT"),
    "oasst": Importer("OpenAssistant: ranked pairs, or message trees", "published.open_assistant:FORMAT"),
    "pandalm": Importer("PandaLM's test set", "published.pandalm:FORMAT"),
    "argilla": Importer("Argilla's records, versions 1 and 2", "tools.argilla:FORMAT"),
    "labelstudio": Importer("Label Studio's JSON export", "tools.label_studio:FORMAT"),
    "arena": Importer("Chatbot Arena's votes", "published.chatbot_arena:FORMAT"),
    "answers": Importer("this project's own: an answer of any kind", "answers_and_ratings:ANSWERS"),
    "ratings": Importer("this project's own ratings.jsonl", "answers_and_ratings:RATINGS"),
    UNJUDGED: Importer("responses that nobody has judged yet: they become tasks", "responses:FORMAT"),
}
