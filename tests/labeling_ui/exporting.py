"""All exports of one store, from votes that are read once: weighing the voters takes longest."""

from foundation.files import Row
from labeling_ui.exchange.exports.registry import ANSWERS, KINDS
from labeling_ui.exchange.exports.remarks import with_remarks
from labeling_ui.exchange.weighted_votes import read_votes
from labeling_ui.store.store import Store


def every_kind(store: Store) -> dict[str, list[Row]]:
    """What `export` gives of each kind, but that of answers."""
    labels = read_votes(store)
    return {name: list(with_remarks(labels, kind.load())) for name, kind in KINDS.items() if name != ANSWERS}
