"""The models in memory, and how a request in a client's words becomes one for the engine."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from anyio import CapacityLimiter, to_thread

from backbone.sampling_config import SamplingConfig
from backbone.tokens import Renderer
from foundation.errors import UserError
from pipeline.config.serve import ServeConfig
from pipeline.serving.engine import Answer, Asked, Engine


class Chat(NamedTuple):
    """A prompt that the model's chat template renders."""

    messages: Sequence[Mapping[str, Any]]


class PlainText(NamedTuple):
    """A prompt that is tokenised as it is; `special` adds what the tokenizer puts before every text."""

    text: str
    special: bool = True


class TokenIds(NamedTuple):
    """A prompt that a program has tokenised."""

    ids: list[int]


_MOST_LOADED = 8  # adapters that were loaded while the server ran: they are in memory

Prompt = Chat | PlainText | TokenIds


class UnknownModel(UserError):
    """There is no model of that name."""


@dataclass(frozen=True)
class Served:
    """`adapters`: the name on the base of each model's adapter, by the model's name; None for the base itself.

    Those that come and go while the server runs are `loaded`.
    """

    engine: Engine
    adapters: dict[str, str | None]
    settings: ServeConfig
    _tokenizing: CapacityLimiter
    loaded: set[str] = field(default_factory=set)
    _numbers: Iterator[int] = field(default_factory=count)

    @classmethod
    def of(cls, engine: Engine, adapters: Mapping[str, str | None], settings: ServeConfig) -> "Served":
        """Made in an event loop, or before it runs."""
        return cls(engine, dict(adapters), settings, CapacityLimiter(1))

    @property
    def renderer(self) -> Renderer:
        """The base's rules of tokens and text."""
        return self.engine.base.renderer

    async def ask(
        self, person_id: str, model: str, prompt: Prompt, *, longest: int | None = None, seed: int | None = None,
        number: int = 1, likeliest: int | None = None, **sampling: Any,
    ) -> tuple[Answer, list[int]]:  # fmt: skip
        """Begin to answer; returns the answer and the ids of the prompt.

        `longest` is in tokens, `sampling` holds other fields of `SamplingConfig`. `UnknownModel`, `TooMany`, `Busy`, or
        another `UserError` if the prompt, or what is wanted, does not fit the model.
        """
        if model not in self.adapters:
            raise UnknownModel(f'there is no model "{model[:100]}" here. Choose one of {", ".join(self.adapters)}.')
        most = self.settings.max_new_tokens
        if longest is not None and longest > most:
            raise UserError(f"answers of {longest} tokens: this server writes at most {most}. Ask for fewer.")
        # One at a time: a tokenizer is no thing for several threads, and a long text must not hold up the rest.
        ids = await to_thread.run_sync(self._ids, prompt, longest or 1, limiter=self._tokenizing)
        room = self.renderer.max_length - len(ids)
        config = SamplingConfig(max_new_tokens=longest or min(most, room), **sampling)
        drawn = secrets.randbelow(2**31) if seed is None else seed
        asked = Asked(ids, self.adapters[model], config, drawn, number, likeliest)
        return self.engine.ask(person_id, asked), ids

    async def load(self, name: str, path: str, *, in_place: bool) -> None:
        """Serve the adapter in the folder `path` as `name`; `in_place`, instead of one that was loaded so before.

        `UserError` if the folder is not below `serve.adapters_below`, holds no adapter of this base, or the name is
        taken.
        """
        folder = self._below(path)
        if name in self.adapters and not (in_place and name in self.loaded):
            raise UserError(f'there is a model "{name}" already, and it stays. Choose another name, or unload it.')
        if len(self.loaded - {name}) >= _MOST_LOADED:
            raise UserError(f"{_MOST_LOADED} adapters were loaded, which is the most. Unload one.")
        within, base = f"loaded_{next(self._numbers)}", self.engine.base
        await to_thread.run_sync(self.engine.between, partial(base.load_adapter, within, folder))
        before = self.adapters.get(name)
        self.adapters[name] = within
        self.loaded.add(name)
        if before is not None:
            await self._remove(before)

    async def unload(self, name: str) -> None:
        """Serve this adapter no more; what it was answering breaks off. `UnknownModel` if none was loaded so."""
        if name not in self.loaded:
            raise UnknownModel(f'there is no adapter "{name}" that was loaded while the server ran.')
        self.loaded.remove(name)
        within = self.adapters.pop(name)
        assert within is not None
        await self._remove(within)

    async def _remove(self, within: str) -> None:
        await to_thread.run_sync(self.engine.between, partial(self.engine.base.remove_adapter, within))

    def _below(self, path: str) -> Path:
        """The folder, which must lie where adapters may be loaded from, also when links are followed."""
        root = self.settings.adapters_below
        assert root is not None
        try:
            folder, allowed = (root / path).resolve(), root.resolve()
            below = folder != allowed and folder.is_relative_to(allowed) and folder.is_dir()
        except (OSError, ValueError):  # too long, or no name at all
            below = False
        if not below:
            raise UserError("adapters are loaded from folders below the one that serve.adapters_below names.")
        return folder

    def _ids(self, prompt: Prompt, reserve: int) -> list[int]:
        if isinstance(prompt, Chat):
            return self.renderer.prompt_ids(prompt.messages, reserve)
        ids = prompt.ids if isinstance(prompt, TokenIds) else self._of_text(prompt)
        unknown = [id for id in ids if id >= self.engine.base.lm_table.shape[0]]
        if unknown:
            raise UserError(f"the prompt has the token {unknown[0]}, and the model has none of that number.")
        if not ids or len(ids) + reserve > self.renderer.max_length:
            raise UserError(
                f"the prompt is {len(ids)} tokens long, and with {reserve} for the response it must fit the context of "
                f"{self.renderer.max_length} tokens."
            )
        return ids

    def _of_text(self, prompt: PlainText) -> list[int]:
        return list(self.renderer.tokenizer(prompt.text, add_special_tokens=prompt.special)["input_ids"])
