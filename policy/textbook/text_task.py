"""The rules of the text task, which the single and the vectorised environment share: prompts, tokens, rewards.

The state of a text is in its `Episode`; nothing is random but the prompt.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Required, TypedDict

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from policy.textbook.vocabulary import Prompt, SpecificationError, is_conversation, vocabulary_of

RewardFunction = Callable[..., Sequence[float]]
StepReward = Callable[[Sequence[str]], float]
State = tuple[int, ...]


class Rules(TypedDict, total=False):
    """What `TextTask` takes by name."""

    max_length: Required[int]
    step_reward: StepReward | None
    target: str | None
    eos: str | int | None
    separator: str
    prompts: str | Sequence[Prompt]
    columns: Mapping[str, Sequence[Any]] | None
    reward_weights: Sequence[float] | None
    per_step: bool
    discount: float
    allowed: Callable[[Sequence[str]], Sequence[bool]] | None


@dataclass
class Episode:
    """One text being written. `potential` is what its reward would be if it stopped here, when paid step by step."""

    prompt: Prompt
    prompt_ids: State
    columns: dict[str, Any]
    tokens: list[int] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    finish_reason: Literal["eos", "length"] | None = None
    potential: float = 0.0


class TextTask:
    """A vocabulary, prompts, and what a text earns.

    vocabulary: words, joined by `separator`, or a Hugging Face tokenizer.
    reward: one or several functions with the signature of TRL's `reward_funcs`, `f(prompts, completions, **columns) ->
        list[float]`, summed with `reward_weights` (default 1 each). Paid when the text ends or, with `per_step`, in
        instalments that leave each text's discounted return as it is.
    step_reward: `f(tokens) -> float`, called with the tokens so far, as strings, after each of them; paid at once.
    target: a text; reward functions receive it as `references`. Without any reward it pays +1 for each token that
        continues it and -1 for any other.
    max_length: tokens after which a text ends; eos: the token that ends it before (a tokenizer's own by default).
    prompts: texts or conversations, one of which is drawn for each episode; columns: further columns of reward
        functions, one value a prompt.
    discount: gamma, in [0, 1]. allowed: `f(tokens) -> mask` over the vocabulary, for policies that know masks.
    """

    def __init__(
        self,
        vocabulary: Sequence[str] | PreTrainedTokenizerBase,
        reward: RewardFunction | Sequence[RewardFunction] | None = None,
        *,
        max_length: int,
        step_reward: StepReward | None = None,
        target: str | None = None,
        eos: str | int | None = None,
        separator: str = " ",
        prompts: str | Sequence[Prompt] = "",
        columns: Mapping[str, Sequence[Any]] | None = None,
        reward_weights: Sequence[float] | None = None,
        per_step: bool = False,
        discount: float = 1.0,
        allowed: Callable[[Sequence[str]], Sequence[bool]] | None = None,
    ) -> None:
        if max_length < 1:
            raise SpecificationError(f"max_length is {max_length}; a text has at least one token.")
        if not 0 <= discount <= 1:
            raise SpecificationError(f"the discount is {discount}; it must lie in [0, 1].")
        self.vocabulary = vocabulary_of(vocabulary, separator, eos)
        self.max_length, self.discount, self.per_step = max_length, discount, per_step
        self.step_reward, self.allowed = step_reward, allowed
        self.rewards = _weighted(reward, reward_weights)

        self.prompts: tuple[Prompt, ...] = (prompts,) if isinstance(prompts, str) else tuple(prompts)
        if not self.prompts:
            raise SpecificationError("there are no prompts. Give at least one; it may be empty.")
        self._prompt_ids = [self.vocabulary.encode(prompt) for prompt in self.prompts]
        self.prompt_length = max(map(len, self._prompt_ids))
        self.columns = {name: list(values) for name, values in (columns or {}).items()}
        for name, values in self.columns.items():
            if len(values) != len(self.prompts):
                raise SpecificationError(
                    f'the column "{name}" has {len(values)} values for {len(self.prompts)} prompts. Give one for each.'
                )
        if target is not None:
            self._aim_at(target)
        if not self.rewards and self.step_reward is None:
            raise SpecificationError("nothing is rewarded. Give a reward, a step_reward or a target.")

        self.width = self.prompt_length + max_length
        self._writable = np.ones(self.vocabulary.size, dtype=bool)
        self._writable[list(self.vocabulary.special)] = False

    def begin(self, rng: np.random.Generator, options: Mapping[str, Any] | None = None) -> Episode:
        """An empty text for a prompt drawn from `prompts`, or for `options["prompt"]` (its number, or a prompt).

        Further options replace columns; for a prompt that is not one of `prompts` all columns must be given.
        """
        given = dict(options or {})
        prompt = given.pop("prompt", None)
        if unknown := given.keys() - self.columns.keys():
            raise SpecificationError(
                f'reset has no option "{min(unknown)}"; it knows: {", ".join(["prompt", *self.columns])}.'
            )
        if prompt is None:
            number = int(rng.integers(len(self.prompts))) if len(self.prompts) > 1 else 0
        elif isinstance(prompt, int):
            number = prompt
        elif prompt in self.prompts:
            number = self.prompts.index(prompt)
        else:
            return self._begin_new(prompt, given)
        if not 0 <= number < len(self.prompts):
            raise SpecificationError(f"there is no prompt {number}; they are numbered 0 to {len(self.prompts) - 1}.")
        columns = {name: values[number] for name, values in self.columns.items()}
        return Episode(self.prompts[number], self._prompt_ids[number], columns | given)

    def advance(self, episodes: Sequence[Episode], actions: Sequence[int]) -> list[tuple[float, dict[str, float]]]:
        """Write one token to each episode; returns each one's reward and, by name, the value of each function.

        Each reward function is called once, for all the texts.
        """
        for episode, action in zip(episodes, actions, strict=True):
            episode.tokens.append(action)
            episode.pieces.append(self.vocabulary.piece(action))
            if action == self.vocabulary.eos:
                episode.finish_reason = "eos"
            elif len(episode.tokens) == self.max_length:
                episode.finish_reason = "length"
        paid: list[tuple[float, dict[str, float]]] = [(0.0, {}) for _ in episodes]
        if self.step_reward is not None:
            for row, episode in enumerate(episodes):
                value = _finite(self.step_reward(episode.pieces), "step_reward", episode.pieces)
                paid[row] = (value, {"step_reward": value})
        rows = [row for row, episode in enumerate(episodes) if self.per_step or episode.finish_reason]
        if self.rewards and rows:
            for row, said in zip(rows, self._judge([episodes[row] for row in rows]), strict=True):
                episode, (amount, parts) = episodes[row], paid[row]
                total = sum(weight * said[name] for name, (_, weight) in self.rewards.items())
                now = total if episode.finish_reason else self.discount * total
                paid[row] = (amount + now - episode.potential, parts | said)
                episode.potential = total
        return paid

    def write(self, episode: Episode, tokens: NDArray[np.int64], mask: NDArray[np.int8]) -> None:
        """Put what is observed into `tokens` and `mask`, both (width,) of 0: the prompt ends where the text begins."""
        start, length = self.prompt_length, len(episode.tokens)
        if prompt := episode.prompt_ids:
            tokens[start - len(prompt) : start] = prompt
            mask[start - len(prompt) : start] = 1
        tokens[start : start + length] = episode.tokens
        mask[start : start + length] = 1

    def state(self, episode: Episode) -> State:
        """What is observed, as a key: the token ids up to the last one, with -1 for padding before a shorter prompt."""
        if not episode.prompt_ids and not episode.tokens:
            return ()
        padding = (-1,) * (self.prompt_length - len(episode.prompt_ids))
        return (*padding, *episode.prompt_ids, *episode.tokens)

    def text(self, episode: Episode) -> str:
        """What has been written."""
        return self.vocabulary.decode(episode.tokens)

    def mask(self, episode: Episode) -> NDArray[np.bool_]:
        """Which tokens may be written next: (vocabulary,). Advice to a policy; others are written all the same."""
        if self.allowed is None:
            return self._writable.copy()
        mask: NDArray[np.bool_] = self._writable & np.asarray(self.allowed(episode.pieces), dtype=bool)
        if mask.shape != self._writable.shape or not mask.any():
            raise SpecificationError(
                f"after {episode.pieces!r}, `allowed` leaves no token. It must return one truth value "
                f"for each of the {self.vocabulary.size} tokens, and allow at least one."
            )
        return mask

    def _aim_at(self, target: str) -> None:
        ids = self.vocabulary.encode(target)
        if len(ids) > self.max_length:
            raise SpecificationError(
                f"the target {target!r} has {len(ids)} tokens and max_length is {self.max_length}. Raise max_length."
            )
        self.columns.setdefault("references", [[target]] * len(self.prompts))
        if not self.rewards and self.step_reward is None:
            ends = () if self.vocabulary.eos is None else (self.vocabulary.eos,)
            self.step_reward = continues([self.vocabulary.piece(token) for token in (*ids, *ends)])

    def _begin_new(self, prompt: Prompt, columns: dict[str, Any]) -> Episode:
        if missing := self.columns.keys() - columns.keys():
            raise SpecificationError(f'for a new prompt, reset needs the option "{min(missing)}" as well.')
        ids = self.vocabulary.encode(prompt)
        if len(ids) > self.prompt_length:
            raise SpecificationError(
                f"the prompt has {len(ids)} tokens, and observations have room for {self.prompt_length}, the "
                "longest of `prompts`. Shorten it, or make it one of them."
            )
        return Episode(prompt, ids, columns)

    def _judge(self, episodes: Sequence[Episode]) -> list[dict[str, float]]:
        """What each reward function returns for each text, and its parts if it keeps them in `last`."""
        texts = [self.text(episode) for episode in episodes]
        table: dict[str, Any] = {name: [episode.columns[name] for episode in episodes] for name in self.columns}
        table["prompts"] = [episode.prompt for episode in episodes]
        table["completions"] = [
            [{"role": "assistant", "content": text}] if is_conversation(episode.prompt) else text
            for episode, text in zip(episodes, texts, strict=True)
        ]
        table["completion_ids"] = [list(episode.tokens) for episode in episodes]
        said: list[dict[str, float]] = [{} for _ in episodes]
        for name, (function, _) in self.rewards.items():
            values = list(function(**table))
            if len(values) != len(texts):
                raise SpecificationError(
                    f"the reward {name} gave {len(values)} values for {len(texts)} texts. It must return one for each."
                )
            for row, value in enumerate(values):
                said[row][name] = _finite(value, name, texts[row])
            for title, parts in getattr(function, "last", {}).items():
                for row, value in enumerate(parts):
                    said[row][f"{name}/{title}"] = float(value)
        return said


@dataclass(frozen=True)
class continues:  # a class, so that environments can be pickled
    """A step reward: +1 while the tokens so far are the beginning of `target`, -1 from the first other one on."""

    target: Sequence[str]

    def __call__(self, tokens: Sequence[str]) -> float:
        """What the last of these tokens earns."""
        return 1.0 if list(tokens) == list(self.target[: len(tokens)]) else -1.0


def writes_target(
    prompts: Sequence[Any], completions: Sequence[Any], references: Sequence[Sequence[str]], **columns: Any
) -> list[float]:
    """A reward function: 1 for a text that is one of its references to the letter, else 0."""
    texts = [text if isinstance(text, str) else text[-1]["content"] for text in completions]
    return [float(text in known) for text, known in zip(texts, references, strict=True)]


def _weighted(
    reward: RewardFunction | Sequence[RewardFunction] | None, weights: Sequence[float] | None
) -> dict[str, tuple[RewardFunction, float]]:
    """Functions and weights by name; a name that comes again is numbered."""
    functions = [] if reward is None else [reward] if callable(reward) else list(reward)
    weights = [1.0] * len(functions) if weights is None else weights
    if len(weights) != len(functions):
        raise SpecificationError(f"there are {len(weights)} reward_weights for {len(functions)} rewards. Give as many.")
    named: dict[str, tuple[RewardFunction, float]] = {}
    for function, weight in zip(functions, weights, strict=True):
        name = getattr(function, "__name__", type(function).__name__)
        name = name if name not in named else f"{name}_{len(named) + 1}"
        named[name] = (function, _finite(weight, f"the weight of {name}", "any text"))
    return named


def _finite(value: Any, name: str, text: object) -> float:
    """The value as a float; NaN, infinities and None are refused, because every later figure would inherit them."""
    number = math.nan if value is None else float(value)
    if not math.isfinite(number):
        raise SpecificationError(f"the reward {name} gave {value} for {text!r}. A reward must be a finite number.")
    return number
