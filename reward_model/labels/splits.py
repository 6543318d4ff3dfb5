"""Which labels are held out: training, validation and test labels never share a conversation.

Prompts that go on with one conversation, each with more turns than the one before, have its topic in common, and the
later ones hold answers that were judged in the earlier. What is decided is decided for all of them.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from foundation.errors import UserError
from foundation.files import read_json, write_json
from reward_model.labels.reading import to_labels
from reward_model.labels.records import Label, Messages, Row, conversation_key, prompt_key

_TRAINED_ON = "trained_on.json"
_MANY, _SHARE = 10, 0.1  # prompts of one conversation, and their share of all: more are told of
COMMON = (
    "Where that message is an instruction or an example that all have in common, write it as a system message, or into "
    "one message with what follows."
)
"""What mends a split by conversations whose first message is none of a conversation."""


@dataclass(frozen=True)
class HeldOut:
    """Prompts that are held out, by their keys, and the conversations of which none is trained on.

    A file of prompts may have a conversation on both sides, and so do splits by prompt, which earlier versions made.
    What is said there to be trained on is, and the rest then measures nothing.
    """

    prompts: frozenset[str] = frozenset()
    conversations: frozenset[str] = frozenset()

    @classmethod
    def of(cls, train: Iterable[Messages], held_out: Sequence[Messages]) -> "HeldOut":
        """Of the prompts on either side."""
        conversations = set(map(conversation_key, held_out)) - set(map(conversation_key, train))
        return cls(frozenset(map(prompt_key, held_out)), frozenset(conversations))

    def __contains__(self, prompt: Messages) -> bool:
        """Whether nothing may be fitted to labels of this prompt."""
        return prompt_key(prompt) in self.prompts or conversation_key(prompt) in self.conversations


NOTHING = HeldOut()


def split_by_conversation(rows: Sequence[Row], held_out: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Split rows into `(train, held out)` so that no conversation is in both; `held_out` is a share of them."""
    keys = [label.conversation_key for label in to_labels(rows)]
    chosen = held_out_conversations(keys, held_out, seed)
    train = [row for row, key in zip(rows, keys, strict=True) if key not in chosen]
    return train, [row for row, key in zip(rows, keys, strict=True) if key in chosen]


def held_out_conversations(keys: Sequence[str], held_out: float, seed: int) -> set[str]:
    """Which are held out: those whose hash with the seed, as a number in [0, 1), is below `held_out`.

    Each is decided for itself, so that more labels never move one to the other side. If that would leave a side empty,
    the one nearest to the threshold changes sides.
    """
    places = {key: int(hashlib.sha256(f"{seed}:{key}".encode()).hexdigest(), 16) / 2**256 for key in keys}
    if len(places) < 2:
        raise UserError(
            f"there are preferences for only {len(places)} different conversations (prompts that begin with the same "
            "message are one), so none can be held out to measure the reward model on. Label prompts of others "
            f"(`rlhf label`, `rlhf import --format FORMAT FILE`). {COMMON}"
        )
    ranked = sorted(places, key=lambda key: places[key])
    count = sum(place < held_out for place in places.values())
    return set(ranked[: min(max(count, 1), len(ranked) - 1)])


def crowded(prompts: Iterable[Messages]) -> str | None:
    """What to tell of a conversation to which more than a tenth of the prompts belong; None if there is none."""
    different = {prompt_key(prompt): prompt for prompt in prompts}
    sizes = Counter(map(conversation_key, different.values()))
    key, most = sizes.most_common(1)[0] if sizes else ("", 0)
    if most <= max(_MANY, _SHARE * len(different)):
        return None
    first = next(prompt for prompt in different.values() if conversation_key(prompt) == key)
    text = next(each["content"] for each in first if each["role"] == "user")
    return (
        f"{most} of {len(different)} prompts begin with the same message ({text[:60]!r}): they count as one "
        f"conversation and are on one side of the split. {COMMON}"
    )


def say_trained_on(folder: Path, labels: Iterable[Label], initial: Path | None) -> None:
    """Write into a reward folder which conversations it was trained on, those of the adapter that it began at too."""
    before = trained_on(initial) if initial else None
    keys = sorted({label.conversation_key for label in labels} | (before or set()))
    write_json(folder / _TRAINED_ON, {"conversations": keys})


def trained_on(folder: Path) -> set[str] | None:
    """The keys of the conversations that a reward model was trained on; None if its folder does not say.

    Folders of earlier versions have the keys of prompts instead (`split_by_prompt`), or none.
    """
    if not (folder / _TRAINED_ON).is_file():
        return None
    found = read_json(folder / _TRAINED_ON)
    return set(found["conversations"] if isinstance(found, dict) else found)


def is_among(prompt: Messages, keys: Set[str]) -> bool:
    """Whether the conversation of a prompt is among these, as `trained_on` has them."""
    return conversation_key(prompt) in keys or prompt_key(prompt) in keys


def split_by_prompt(folder: Path) -> bool:
    """Whether a reward folder is of an earlier version, which split labels by prompt and not by conversation."""
    return not ((folder / _TRAINED_ON).is_file() and isinstance(read_json(folder / _TRAINED_ON), dict))


def check_disjoint(train: Sequence[Row], held_out: Sequence[Row]) -> None:
    """Raise `UserError` if a conversation is in both splits: held-out accuracy would then mean nothing."""
    seen = {label.conversation_key for label in to_labels(train)}
    shared = {label.prompt_key: label for label in to_labels(held_out) if label.conversation_key in seen}
    if shared:
        text = next(iter(shared.values())).prompt[-1]["content"]
        raise UserError(
            f"{len(shared)} held-out prompts are also in the training split, or begin like prompts there, among them "
            f"{text[:80]!r}. Move all rows of a conversation to one side."
        )
