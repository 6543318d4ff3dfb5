"""How other people's files of judgements are laid out: each format's records as items with votes.

    trl          TRL's preference formats: `chosen`, `rejected`, and perhaps `prompt` and `margin`
    hh           Anthropic's hh-rlhf
    finegrained  FineGrainedRLHF
    oasst        OpenAssistant: ranked pairs, or message trees
    pandalm      PandaLM's test set
    argilla      Argilla's records, versions 1 and 2
    labelstudio  Label Studio's JSON export
    arena        Chatbot Arena's votes
    answers      this project's own: an answer of any kind
    ratings      this project's own `ratings.jsonl`

Each is read from JSON Lines or from one JSON array. A record without anything usable is a `Refusal`; a file that is no
such file raises `UserError` with line and field. In a JSON array the "line" is the record's number. Nothing is
stored here; `exchange.py` does that.
"""

from labeling_ui.exchange.importers import answers_and_ratings as own
from labeling_ui.exchange.importers import arena, argilla, label_studio
from labeling_ui.exchange.importers import published_datasets as published
from labeling_ui.exchange.importers.judged_items import Format

FORMATS: dict[str, Format] = {
    "trl": Format(published.trl),
    "hh": Format(published.hh),
    "finegrained": Format(published.finegrained),
    "oasst": Format(published.oasst, ("message_tree_id",)),
    "pandalm": Format(published.pandalm, ("idx",)),
    "argilla": Format(argilla.argilla, argilla.IDENTITY),
    "labelstudio": Format(label_studio.label_studio, label_studio.IDENTITY),
    "arena": Format(arena.arena, arena.IDENTITY),
    "answers": Format(own.answers, own.IDENTITY),
    "ratings": Format(own.ratings),
}
