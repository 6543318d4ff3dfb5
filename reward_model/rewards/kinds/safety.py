"""Safety: no word of a list may occur in a response."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field

from foundation.errors import UserError
from reward_model.rewards.interface import Given, Kind, Reward, per_text
from reward_model.rewards.kinds.keywords import occurs


class Safety(Kind):
    """1 for a response without any word of a list, 0 otherwise; most useful as a gate (`at_least: 1`).

    The list is the user's: what must not be said depends on who listens. It matches words, not meanings.
    """

    words: tuple[str, ...] = Field((), description="words and phrases that must not occur")
    file: Path | None = Field(
        None, description="a file with more of them, one a line; lines that begin with # are left out"
    )

    def make(self, given: Given) -> Reward:
        """See `Kind`."""
        listed = [*self.words, *(_lines(self.file) if self.file else [])]
        if not listed:
            raise UserError('the reward "safety" has an empty word list: give it `words`, or a `file` with one a line.')
        return per_text(lambda text: float(not any(occurs(word, text) for word in listed)))

    def reads(self) -> Mapping[str, Sequence[Path]]:
        """See `Kind`."""
        return {"file": [self.file]} if self.file and self.file.is_file() else {}


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'the word list {path} of the reward "safety" cannot be read: {error}') from error
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
