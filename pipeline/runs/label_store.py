"""Where a run's judgements are kept: `labels.db` in its folder, or the PostgreSQL database of the configuration."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foundation.errors import UserError
from labeling_ui.store.store import Store
from pipeline.config.config import Config
from pipeline.runs.folder import Run


def location(run: Run, config: Config) -> str | Path:
    """URL or path of the run's label store."""
    return config.label.database or run.database


@contextmanager
def label_store(run: Run, config: Config, *, must_exist: bool = False) -> Iterator[Store]:
    """The run's label store, made if there is none, unless it must exist; closed afterwards."""
    if must_exist:
        check_labels(run, config)
    run.path.mkdir(parents=True, exist_ok=True)
    store = Store(location(run, config))
    try:
        yield store
    finally:
        store.close()


def check_labels(run: Run, config: Config) -> None:
    """Refuse a run without a label store, before one is made."""
    if not has_labels(run, config):
        raise UserError(
            f"the run {run.path} has no label store yet ({run.database}): nothing to label, and nothing that was "
            f"labelled. Name another --run, or get some: `rlhf collect --run {run.argument}` samples responses to "
            f"judge, `rlhf import --format FORMAT FILE --run {run.argument}` brings some, or judgements."
        )


def has_labels(run: Run, config: Config) -> bool:
    """Whether there is a label store already; a database elsewhere is taken to be there."""
    return config.label.database is not None or run.database.exists()


def has_judgements(run: Run, config: Config) -> bool:
    """Whether anything was judged yet."""
    if not has_labels(run, config):
        return False
    with label_store(run, config) as store:
        return store.counts().judgements > 0


def waiting(run: Run, config: Config) -> int:
    """How many judgements the run's tasks still lack."""
    with label_store(run, config) as store:
        return store.waiting()


def all_simulated(run: Run, config: Config) -> bool:
    """Whether there are judgements, and every one of them is by a simulated annotator."""
    with label_store(run, config) as store:
        counts = store.counts()
        return counts.simulated_judgements == counts.judgements > 0
