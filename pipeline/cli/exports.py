"""`rlhf export`: parsing, and nothing else."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from foundation.errors import UserError
from pipeline.cli.options import DEFAULT_RUN, ConfigOption, RunOption, SetOption, open_run

exports = typer.Typer(rich_markup_mode=None)

DtypeOption = Annotated[
    Literal["float32", "bfloat16"] | None, typer.Option(help="dtype of merged weights; without it, the base's.")
]


@exports.command()
def export(
    run: RunOption = DEFAULT_RUN,
    config: ConfigOption = None,
    set_: SetOption = None,
    to: Annotated[
        Literal["peft", "merged", "gguf", "ollama", "hub"], typer.Option(help="What to make of the adapter.")
    ] = "peft",
    out: Annotated[Path | None, typer.Option(help="New folder for it; without it, only the run's own export/.")] = None,
    dtype: DtypeOption = None,
    repo: Annotated[str | None, typer.Option(metavar="OWNER/NAME", help="Repository on the hub.")] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="What goes to the hub: adapter (alone, if nothing is said), merged, reward, labels; repeatable."
        ),
    ] = None,
    license: Annotated[
        str | None, typer.Option(metavar="ID", help="Licence of the export, by its hub id; without it, the base's.")
    ] = None,
    labels_license: Annotated[
        str | None, typer.Option(metavar="ID", help="Licence of the labels, by its hub id.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Let everybody see the repositories.")] = False,
    names_checked: Annotated[
        bool, typer.Option("--names-checked", help="Send texts in which names of people or paths stand.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show every file, and keep and send none.")] = False,
) -> None:
    """Write the policy adapter as an ordinary PEFT folder with its model card, or as what other programs read."""
    if to == "hub" and not repo:
        raise UserError("say where on the hub: --repo OWNER/NAME.")
    if to in ("merged", "gguf", "ollama") and not out and not dry_run:
        raise UserError(f"say where to write it: `rlhf export --to {to} --out FOLDER --run {shlex.quote(str(run))}`.")
    if to == "hub" and out:
        raise UserError("--out is a folder of this machine; leave it out with --to hub.")
    if to != "hub" and (repo or part or public or names_checked):
        raise UserError("--repo, --part, --public and --names-checked go with --to hub.")
    set_ = [*(set_ or ()), *_licences(license, labels_license)]
    with open_run(run, config, set_, ends="export" if to == "peft" and not out else None) as opened:
        from pipeline import stages

        stages.export(*opened)
        if to == "hub":
            from pipeline.exporting import hub

            hub.publish(
                *opened, repo or "", part or ["adapter"], dtype,
                public=public, names_checked=names_checked, dry_run=dry_run,
            )  # fmt: skip
        elif out or dry_run:
            from pipeline.exporting import formats

            formats.export_as(*opened, to, None if dry_run else out, dtype)


def _licences(license: str | None, labels_license: str | None) -> list[str]:
    said = {"export.license": license, "export.labels_license": labels_license}
    return [f"{field}={name}" for field, name in said.items() if name]
