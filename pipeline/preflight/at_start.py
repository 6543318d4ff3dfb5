"""Where the first stages ask what later ones will need: what is asked is in `checks.py`, which loads torch."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from backbone.loading.model_folder import files_of, is_demo
from backbone.loading.model_name import check_name
from foundation.errors import UserError
from foundation.files import Row, read_rows
from pipeline.collection.prompts import parse_prompts, source_of
from pipeline.config.config import Config
from pipeline.runs.folder import Run

if TYPE_CHECKING:
    from backbone.adapters import SharedBase


@contextmanager
def told_together(run: Run, config: Config) -> Iterator[None]:
    """If making the round's prompts is refused, say in the same message what else later stages would refuse."""
    try:
        yield
    except UserError as error:
        from pipeline.preflight.checks import Findings, check

        found = Findings([str(error)])
        check(config, _rows_at_hand(run, config), run, found=found).refuse()


def base_that_lasts(run: Run, config: Config, console: Console, adapter: Path | None) -> "SharedBase":
    """The base, with `adapter` on it, if every later stage can run on it; else a `UserError` with every reason."""
    from pipeline.preflight.checks import load_checked

    return load_checked(run, config, console, adapter)


def refuse_ahead(run: Run, config: Config) -> None:
    """A `UserError` with every reason why a later stage could not run, as far as is known without the weights."""
    from pipeline.preflight.checks import check

    check(config, read_rows(run.folder / "prompts.jsonl"), run).refuse()


def foreseen(run: Run, config: Config) -> list[str]:
    """As `refuse_ahead`, after an import: told if the configuration names a model, and it is on this machine."""
    try:
        check_name(config.model)
    except UserError as error:
        return [str(error)]
    if is_demo(config.model) or not files_of(config.model):
        return []
    from pipeline.preflight.checks import check

    return check(config, _rows_at_hand(run, config), run).reasons


def _rows_at_hand(run: Run, config: Config) -> list[Row]:
    """The prompts of the round that begins, as far as they can be read: even if none is held out."""
    try:
        source = source_of(run, config)
        return source.rows or parse_prompts(source.files[0], source.held_out, source.by_prompt)
    except UserError:
        return []
