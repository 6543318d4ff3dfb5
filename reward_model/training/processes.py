"""Several processes that train one reward model, as `accelerate launch` or torchrun starts them.

Every process sees the batches that one process would see, in the same order, and computes its share of each; losses and
gradients are then added up. So the weights are those of one process up to rounding, however many there are. Where the
base's weights are divided among them as well, no process computes alone. Starting and ending processes is not decided
here.
"""

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from torch import Tensor, distributed, nn

from backbone.adapters import SharedBase
from backbone.exactness import load_shared_base
from backbone.loading.settings import Quantization
from backbone.templates.plain_text import TemplateChoice
from backbone.training.sharded_weights import load_sharded_base, sharded, without_fsdp


@dataclass(frozen=True)
class Processes:
    """This process, `rank`, among all `size` of them, with its device."""

    rank: int = 0
    size: int = 1
    device: torch.device | None = None

    @classmethod
    def launched(cls) -> "Processes":
        """Those of torch's process group if there is one, or this one alone."""
        if not distributed.is_initialized() or distributed.get_world_size() == 1:
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size(), PartialState().device)

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    @property
    def sharded(self) -> bool:
        """Whether the base's weights are divided among them: all then take part in every forward pass."""
        return self.size > 1 and sharded()

    def load_base(
        self, model: str, dtype: str, device: str, template: TemplateChoice, quantization: Quantization | None
    ) -> SharedBase:
        """The base, whole or divided among the processes."""
        if self.sharded:
            assert self.device is not None
            return load_sharded_base(model, dtype, self.device, template, quantization)
        return load_shared_base(model, dtype, device, template, quantization)

    @contextmanager
    def to_measure_in(self, folder: Path, without: str) -> Iterator[Path | None]:
        """Where this process measures a model that is in `folder`, but for what is there `without` need.

        In the folder itself if it is the one that writes. Another one has nothing to measure (None), or does the same
        in a copy that is thrown away, because the weights are divided.
        """
        if self.sharded:
            self.wait()
        if self.is_main or not self.sharded:
            yield folder if self.is_main else None
            return
        with tempfile.TemporaryDirectory() as copy:
            shutil.copytree(folder, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns(without))
            yield Path(copy)

    def wait(self) -> None:
        """Wait for the others."""
        if self.size > 1:
            self.total(torch.zeros(1))

    def share(self, examples: Sequence[dict[str, Any]]) -> list[int]:
        """The places in a batch of the examples that this process computes; none if there are fewer than processes.

        The longest remaining example goes to the process with the fewest tokens so far.
        """
        if self.size == 1:
            return list(range(len(examples)))
        tokens, places = [0] * self.size, sorted(range(len(examples)), key=lambda place: -examples[place]["length"])
        parts: list[list[int]] = [[] for _ in tokens]
        for place in places:
            least = min(range(self.size), key=lambda rank: (tokens[rank], rank))
            tokens[least] += examples[place]["length"]
            parts[least].append(place)
        return sorted(parts[self.rank])

    def total(self, values: Tensor) -> Tensor:
        """The sum of all processes' `values`, each (n,), in double precision on this process's device."""
        if self.size == 1:
            return values
        summed = values.detach().double().to(self.device)
        distributed.all_reduce(summed)
        return summed

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every process the sum of all gradients. What has none anywhere keeps none."""
        if self.size == 1:
            return
        trained = list(parameters)
        there = torch.tensor([parameter.grad is not None for parameter in trained], dtype=torch.float32)
        gradients = [(each.grad if each.grad is not None else torch.zeros_like(each)).flatten() for each in trained]
        summed = torch.cat([*(each.float() for each in gradients), there.to(gradients[0].device)])
        distributed.all_reduce(summed)
        sizes = [*(parameter.numel() for parameter in trained), len(trained)]
        parts = torch.split(summed, sizes)
        for parameter, part, count in zip(trained, parts[:-1], parts[-1].tolist(), strict=True):
            parameter.grad = part.view_as(parameter).to(parameter.dtype) if count else None

    @contextmanager
    def each_alone(self) -> Iterator[None]:
        """In here a trainer takes its process for the only one: it shares out no data and gathers nothing."""
        if self.size == 1:
            with without_fsdp():
                yield
            return
        state = PartialState()
        before = state.distributed_type, state.num_processes, state.process_index, state.local_process_index
        alone = DistributedType.NO, 1, 0, 0
        try:
            state.distributed_type, state.num_processes, state.process_index, state.local_process_index = alone
            AcceleratorState._reset_state()
            with without_fsdp():
                yield
        finally:
            state.distributed_type, state.num_processes, state.process_index, state.local_process_index = before
            AcceleratorState._reset_state()
