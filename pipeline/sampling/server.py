"""Drawing by a server of the same model, by OpenAI's `/v1/completions` with token ids, as vLLM and `rlhf serve` have.

Prompts are sent as token ids, so that nobody renders them twice, and ids come back. What a server says of itself proves
little, so the first responses of each model are computed here as well: its log-probabilities (of temperature 1) must be
those of the base and adapter in this process, and no nearer to those of the base alone. Random streams are the server's
own: a seed repeats what it draws, but not what this program would have drawn.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from backbone.adapters import SharedBase
from backbone.logprobs import response_logprobs
from backbone.sampling import FinishReason, Sample, check_room
from backbone.sampling_config import SamplingConfig
from backbone.tokens import Ids
from foundation.errors import UserError
from foundation.files import content_id
from pipeline.config.sampler import SamplerConfig
from pipeline.sampling.client import SHOWN, Client, Refused

TOLERANCE = 0.1
"""Nats a token, on the mean: kernels in bf16 differ by a hundredth or two, another model by tenths at least."""
_COMPARED = 4  # responses
_SURE = 6  # standard errors, by which the base must be nearer than the adapter: the comparison is made at every step
_NEUTRAL = {"min_p": 0.0, "repetition_penalty": 1.0}
"""vLLM takes from the model's `generation_config.json` what a request leaves open."""


class SamplingServer:
    """A `Draw` by a server; `names` are its models by the adapters of the base here, that of the base by None."""

    def __init__(self, config: SamplerConfig, names: Mapping[str | None, str]) -> None:
        self._config, self._names = config, dict(names)
        self._compared: set[str | None] = set()
        self._client = Client(config)

    def __call__(
        self, base: SharedBase, adapter: str | None, prompts: Sequence[Ids], config: SamplingConfig, *, group: int = 1,
        seed: int = 0, rows: Sequence[int] | None = None, batch: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[Sample]:  # fmt: skip
        """`group` responses to each prompt, in the order of the prompts; their log-probabilities are the model's own.

        `UserError` if the server does not answer, answers something else, or has another model.
        """
        check_room(base, prompts, config.max_new_tokens)
        rows = rows if rows is not None else range(0, len(prompts) * group, group)
        asked = [
            self._body(base, adapter, ids, config, group, int(content_id(seed, row), 16) % 2**31)
            for ids, row in zip(prompts, rows, strict=True)
        ]
        found: list[Sample] = []
        self._client.start()
        with ThreadPoolExecutor(self._config.at_once) as threads:
            waiting = [threads.submit(self._answer, body, base.lm_table.shape[0]) for body in asked]
            try:
                for prompt, each in enumerate(waiting):
                    found += [one._replace(prompt=prompt) for one in each.result()]
                    if adapter not in self._compared and (len(found) >= _COMPARED or prompt == len(prompts) - 1):
                        self._compare(base, adapter, prompts, found[:_COMPARED])
                    if progress:
                        progress(group)
            except BaseException:
                self._client.stop()
                threads.shutdown(wait=False, cancel_futures=True)
                raise
        return found

    def _body(
        self, base: SharedBase, adapter: str | None, ids: Ids, config: SamplingConfig, group: int, seed: int
    ) -> dict[str, Any]:
        body = {
            "model": self._names[adapter], "prompt": list(ids), "n": group, "seed": seed, "logprobs": 0,
            "max_tokens": config.max_new_tokens, "temperature": config.temperature, "top_p": config.top_p,
            "top_k": config.top_k or -1, "return_token_ids": True, "stop_token_ids": sorted(base.renderer.eos_ids),
        }  # fmt: skip
        return body | _NEUTRAL | ({"stop": config.stop} if config.stop else {})

    def _answer(self, body: Mapping[str, Any], vocabulary: int) -> list[Sample]:
        """The responses of one request."""
        try:
            reply = self._client.post("completions", body)
        except Refused as refusal:
            raise UserError(
                f'the sampling server at {self._config.endpoint} refuses a request for its model "{body["model"]}" '
                f"({refusal}). sampler.model and sampler.adapter are the names that it must know; a key is read from "
                "OPENAI_API_KEY."
            ) from refusal
        return list(self._read(reply, body, vocabulary))

    def _read(self, reply: bytes, body: Mapping[str, Any], vocabulary: int) -> Iterator[Sample]:
        try:
            said = json.loads(reply)
            choices = sorted(said["choices"], key=lambda choice: choice["index"])
            if body["model"] != self._config.model and said.get("model", body["model"]) != body["model"]:
                raise UserError(
                    f'the sampling server at {self._config.endpoint} answers by its model "{said["model"]}" where '
                    f'"{body["model"]}" was asked.'
                )
            if choices[0].get("prompt_token_ids") not in (None, body["prompt"]):
                raise UserError(
                    f"the sampling server at {self._config.endpoint} read the prompt as other tokens than it was sent."
                )
            for choice in choices:
                ids, logprobs = choice["token_ids"], choice["logprobs"]["token_logprobs"]
                ends: FinishReason = "stop" if choice["finish_reason"] == "stop" else "length"
                known = all(type(id) is int and 0 <= id < vocabulary for id in ids)
                if not ids or not known or len(ids) != len(logprobs) or len(choices) != body["n"]:
                    raise ValueError
                yield Sample(0, list(ids), [float(each) for each in logprobs], ends)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise UserError(
                f"what the sampling server at {self._config.endpoint} answers are no token ids with their "
                f"log-probabilities: {reply[:SHOWN].decode(errors='replace')!r}. It must know `return_token_ids`, as "
                "`rlhf serve` and vLLM do."
            ) from error

    @torch.no_grad()
    def _compare(
        self, base: SharedBase, adapter: str | None, prompts: Sequence[Ids], samples: Sequence[Sample]
    ) -> None:
        """Raise `UserError` if the server's model is not the one in this process."""
        told = torch.tensor([logprob for one in samples for logprob in one.logprobs])

        def distances(name: str | None) -> torch.Tensor:
            asked, responses = [prompts[one.prompt] for one in samples], [one.response_ids for one in samples]
            with base.using(name):
                own = response_logprobs(base, asked, responses)
            return (own.logprobs[own.mask.bool()].float().cpu() - told).abs()

        found = distances(adapter)
        if not float(found.mean()) <= TOLERANCE:
            raise UserError(
                f'the sampling server at {self._config.endpoint} has another model as "{self._names[adapter]}": its '
                f"log-probabilities differ from those computed here by {float(found.mean()):.2f} nats a token, where "
                f"{TOLERANCE} is the most that rounding explains. Let it serve the base and adapter of this run, and "
                "give its log-probabilities as the model has them, before temperature."
            )
        farther = found - distances(None) if adapter is not None else found
        if adapter is not None and float(farther.mean()) > _SURE * float(farther.std()) / math.sqrt(len(told)):
            raise UserError(
                f'the sampling server at {self._config.endpoint} answers as "{self._names[adapter]}" without the '
                "adapter: its log-probabilities are those of the base. Let it load that adapter, or another that it "
                "can compute."
            )
        self._compared.add(adapter)
