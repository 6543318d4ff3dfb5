"""Drawing responses, whoever does it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from backbone.adapters import SharedBase
from backbone.sampling import Draw, Sample, sample
from backbone.sampling_config import SamplingConfig
from backbone.tokens import Ids
from pipeline.config.sampler import SamplerConfig


def draw_here(
    base: SharedBase, adapter: str | None, prompts: Sequence[Ids], config: SamplingConfig, *, group: int = 1,
    seed: int = 0, rows: Sequence[int] | None = None, batch: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Sample]:  # fmt: skip
    """In this process."""
    with base.using(adapter):
        return sample(base, prompts, config, group=group, seed=seed, rows=rows, batch=batch, progress=progress)


def drawing_by(config: SamplerConfig, adapters: Mapping[str, Path | None]) -> Draw:
    """By this program, or by the server of the configuration; `adapters` are the folders of those on the base."""
    if not config.endpoint:
        return draw_here
    from pipeline.sampling.server import SamplingServer

    names: dict[str | None, str] = {None: config.model}
    names |= {name: config.adapter or folder.parent.name for name, folder in adapters.items() if folder}
    return SamplingServer(config, names)


def policy_drawing(config: SamplerConfig, folder: Path) -> Draw | None:
    """For the policy that is tuned in `folder`: by the server of the configuration; None without one."""
    if not config.endpoint:
        return None
    from pipeline.sampling.policy_server import PolicyServer

    return PolicyServer(config, folder)
