"""How a stage makes one output: fingerprint, up to date?, begin, produce, publish.

The output is made in `.OUTPUT.partial/`, which outlives a crash so that the stage can resume, and gets its final name
in one step. An output that is up to date is skipped, one whose inputs or settings changed is set aside and made anew,
one that was changed by hand is refused. Nothing is ever edited. What a stage does inside `produce` is its own affair.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from foundation import sizes, threads
from foundation.files import sha256_of
from pipeline.runs.disk_space import disk_errors
from pipeline.runs.fingerprint import basis_of, in_run
from pipeline.runs.manifest import Manifest, StageRecord, versions
from pipeline.runs.publishing import Output, damaged

if TYPE_CHECKING:
    from pipeline.runs.folder import Run

Produce = Callable[[Path], Mapping[str, Any]]


def make(
    run: "Run",
    name: str,
    output: str,
    inputs: Sequence[Path],
    config: BaseModel | Mapping[str, Any],
    produce: Produce,
    extra: Mapping[str, Any],
    content: Callable[[], Mapping[str, str]],
) -> StageRecord:
    """Make `output` (relative to the round's folder) from `inputs`, unless it is up to date.

    `produce(partial)` is given a folder, which holds what an interrupted attempt with the same fingerprint left there,
    and returns the stage's figures. If `output` has a suffix it is a file, and `produce` writes `partial / output`;
    otherwise the folder itself becomes the output. `extra` holds what else the output depends on (the hash of a label
    set), and `content` gives the hashes of what the settings name (`content.py`). Every process calls `produce`; the
    main one alone writes here.

    Raises `UserError` if an input is missing, an input or the output was changed after it was made, another command is
    working on this run, or the disk is full.
    """
    made = Output(run.folder, name, Path(output), run.say)
    with run.lock() if run.is_main else nullcontext(), disk_errors(f"making {made.path}", run.path):
        if run.is_main:
            made.recover()
        run.barrier()

        basis = basis_of(name, inputs, config, extra, content(), run.seed, run=run.path)
        _check_unchanged(run.path, inputs, basis.inputs)
        done = made.up_to_date(basis)
        run.barrier()
        if done is not None:
            if run.is_main:
                run.say(f"{name}: already done ({done.seconds:.0f} s on {done.finished[:10]}), skipped.")
            return done.model_copy(update={"skipped": True})

        started, before = datetime.now(UTC), made.begin(basis) if run.is_main else 0.0
        run.barrier()
        clock = time.monotonic()
        count = made.threads
        with threads.using(count), sizes.kept(made.sizes, made.keep_sizes if run.is_main else _ignore):
            figures = dict(produce(made.partial))
        run.barrier()

        if run.is_main:
            if not made.made.exists():
                raise RuntimeError(f"the stage {name} wrote nothing to {made.made}")
            # What was fetched from the hub meanwhile is known only now.
            basis = basis.model_copy(update={"content": {**content(), **basis.content}})
            record = StageRecord(
                basis=basis,
                output=made.path.relative_to(run.folder).as_posix(),
                output_sha256=sha256_of(made.made),
                versions=versions(),
                started=started.isoformat(timespec="seconds"),
                finished=datetime.now(UTC).isoformat(timespec="seconds"),
                seconds=round(before + time.monotonic() - clock, 3),
                figures=figures,
                threads=count,
                sizes=made.sizes,
            )
            made.publish(record)
        run.barrier()
        return run.manifest().stages[name]


def _ignore(settled: sizes.Sizes, here: sizes.Sizes) -> None:
    """Nobody but the main process keeps them."""


def _check_unchanged(run: Path, inputs: Sequence[Path], hashes: Mapping[str, str]) -> None:
    """Refuse an input that a stage of this run made, in whichever round, and that was changed afterwards."""
    for path in inputs:
        round_name, _, output = (in_run(path, run) or "").partition("/")
        maker = Manifest.read(run / round_name / "manifest.json").maker_of(output) if output else None
        if maker is not None and maker.output_sha256 != hashes[f"{round_name}/{output}"]:
            raise damaged(path, maker.name)
