"""Tokens that arrive one by one as text that grows: what is shown is never taken back.

A letter of several tokens waits for the last of them, what may be the beginning of a stop text for what follows, and
white space for the next word. The stop text itself is left out, as OpenAI's interface has it.
"""

from collections.abc import Sequence

from backbone.sampling import FinishReason
from backbone.tokens import Renderer
from pipeline.serving.engine import Token


class GrowingText:
    """One response: `text` so far, and the tokens that it is made of."""

    def __init__(self, renderer: Renderer, stop: Sequence[str] = ()) -> None:
        self._renderer, self._stop = renderer, stop
        self._ids: list[int] = []
        self._untold: list[Token] = []
        self.text = ""
        self.number = 0
        """How many tokens were drawn, those of the end included."""
        self.ends: FinishReason | None = None

    def add(self, token: Token) -> tuple[str, list[Token]]:
        """What the token adds to the text, and the tokens (the end of the turn is none) of what has been added."""
        self.number += 1
        self.ends = token.ends
        if token.id not in self._renderer.eos_ids:
            self._ids.append(token.id)
            self._untold.append(token)
        answers = self._renderer.answers
        whole = answers.whole_text(self._ids)
        cut = min((at for at in map(whole.find, self._stop) if at >= 0), default=None)
        if cut is not None:
            whole = whole[:cut]
            first = len(self._ids) - len(self._untold)
            starts = [len(answers.whole_text(self._ids[: first + n])) for n in range(len(self._untold))]
            self._untold = [each for each, start in zip(self._untold, starts, strict=True) if start < cut]
        elif not token.ends:
            whole = whole.rstrip("\ufffd")
            whole = whole[: len(whole) - self._held(whole)]
        whole = answers.trimmed(whole)
        if not whole.startswith(self.text):
            return "", []
        added, self.text = whole[len(self.text) :], whole
        if not added and not token.ends:
            return "", []
        told, self._untold = self._untold, []
        return added, told

    def _held(self, whole: str) -> int:
        """How many letters at the end may be the beginning of a stop text."""
        longest = max((len(stop) - 1 for stop in self._stop), default=0)
        ends = range(min(longest, len(whole)), 0, -1)
        return next((size for size in ends if any(stop.startswith(whole[-size:]) for stop in self._stop)), 0)
