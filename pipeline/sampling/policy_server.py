"""Drawing by a server while the policy is tuned: it loads the adapter as it is at each step, as vLLM does at runtime.

At each step the adapter is written as a PEFT folder, loaded by `/v1/load_lora_adapter`, drawn with, unloaded and
deleted. Its name there comes from its weights: vLLM keeps what it computed of a prompt under the adapter's name, and
would use it with other weights of the same name. At each step its log-probabilities are compared with those of this
process (`server.py`).
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from backbone.adapters import SharedBase
from backbone.sampling import Sample, check_room
from backbone.sampling_config import SamplingConfig
from backbone.tokens import Ids
from foundation.errors import UserError
from foundation.files import content_id, publish_folder, sha256_of
from pipeline.config.sampler import SamplerConfig
from pipeline.sampling.client import BUSY, Client, Refused
from pipeline.sampling.server import SamplingServer


class PolicyServer:
    """A `Draw` by a server that is given the adapter through a folder in `sampler.exchange`, or else in `folder`.

    It must see that folder by the same path. `folder` is of this training alone.
    """

    def __init__(self, config: SamplerConfig, folder: Path) -> None:
        self._config, self._client = config, Client(config)
        own = folder.resolve()
        self._folder = (config.exchange or own).resolve() / f".sampled-{content_id(str(own))}"

    def __call__(
        self, base: SharedBase, adapter: str | None, prompts: Sequence[Ids], config: SamplingConfig, *, group: int = 1,
        seed: int = 0, rows: Sequence[int] | None = None, batch: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[Sample]:  # fmt: skip
        """`group` responses to each prompt; their log-probabilities are those of temperature 1.

        `UserError` if the server cannot load the adapter, does not answer, or has another model or adapter.
        """
        assert adapter is not None
        check_room(base, prompts, config.max_new_tokens)
        with self._loaded(base, adapter) as name:
            draw = SamplingServer(self._config, {adapter: name})
            return draw(
                base, adapter, prompts, config, group=group, seed=seed, rows=rows, batch=batch, progress=progress
            )

    @contextmanager
    def _loaded(self, base: SharedBase, adapter: str) -> Iterator[str]:
        """What the server calls the adapter, which it has inside."""
        partial = self._folder.with_name(f"{self._folder.name}.partial")
        try:
            self._remove(partial, self._folder)  # of a call that was killed
            base.save_adapter(adapter, partial)
            publish_folder(partial, self._folder)
            name = f"{adapter}-{content_id(str(self._folder), sha256_of(self._folder))}"
            self._load(name)
            try:
                yield name
            finally:
                with suppress(UserError, Refused):  # one that is away has none
                    self._client.post("unload_lora_adapter", {"lora_name": name}, once=True)
        finally:
            self._remove(partial, self._folder)

    def _load(self, name: str) -> None:
        body = {"lora_name": name, "lora_path": str(self._folder), "load_inplace": True}
        try:
            self._client.post("load_lora_adapter", body, BUSY - {500})
        except Refused as refusal:
            raise UserError(
                f"the sampling server at {self._config.endpoint} does not load the policy ({refusal}). It must see the "
                f"folder {self._folder.parent} (sampler.exchange), and may load from it: vLLM by --enable-lora, "
                "--max-lora-rank and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, `rlhf serve` by serve.adapters_below. "
                "With sampler.endpoint=null, this program samples."
            ) from refusal

    @staticmethod
    def _remove(*folders: Path) -> None:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
