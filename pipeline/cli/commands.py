"""The `rlhf` command: parsing, and nothing else.

Each command calls its function in `stages.py`, which is imported only then; what is heavy is imported where it is used,
so that a command that needs no model does not wait for torch. How a command ends, and what Ctrl-C does, is in
`exit_status.py`.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from foundation import __version__
from foundation.errors import UserError
from labeling_ui.exchange.importers.registry import FORMATS
from pipeline.cli import decisions, exports, inspection, labels, serving, users
from pipeline.cli.exit_status import Commands
from pipeline.cli.launched_processes import count
from pipeline.cli.options import DEFAULT_RUN, ConfigOption, RunOption, SetOption, open_run, remember_new

if TYPE_CHECKING:
    from pipeline.config.config import Config

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From human judgements to a LoRA adapter that people prefer, with the evidence that they do.",
)

WeakOption = Annotated[
    bool, typer.Option("--accept-weak-reward", help="Tune towards one that knows no more than length and words.")
]
SimulateOption = Annotated[bool, typer.Option("--simulate", help="Let simulated annotators answer; marked as such.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rlhf-pipeline {__version__}")
        raise typer.Exit


app.add_typer(users.users, name="users")
app.add_typer(labels.labels, name="labels")
app.add_typer(serving.serving)
app.add_typer(serving.keys, name="keys")
app.add_typer(decisions.decisions)
app.add_typer(inspection.inspection)
app.add_typer(exports.exports)


def _nobody_is_needed(config: "Config") -> bool:
    """Whether a run can begin with its policy: every reward is programmatic."""
    return not (config.learned_reward or config.offline)


def _can_label_at_once(config: "Config") -> bool:
    """Whether there may be something to label in a run that is not there yet: elsewhere, or typed by people."""
    return config.label.live or config.label.database is not None


@app.callback()
def _common(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    name = context.invoked_subcommand
    if name not in ("reward", "policy") and count() > 1:
        raise UserError(
            f"`rlhf {name}` runs in one process: start it without a launcher. Only `rlhf reward` and `rlhf policy` "
            "run in several."
        )


@app.command()
def collect(run: RunOption = DEFAULT_RUN, config: ConfigOption = None, set_: SetOption = None) -> None:
    """Sample candidate responses for the prompts."""
    with open_run(run, config, set_, new=True, ends="collect") as opened:
        from pipeline import stages

        stages.collect(*opened)


@app.command()
def label(
    run: RunOption = DEFAULT_RUN,
    config: ConfigOption = None,
    set_: SetOption = None,
    simulate: SimulateOption = False,
    host: Annotated[str | None, typer.Option(help="Address to listen on; sets label.host.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; sets label.port.")] = None,
    root_path: Annotated[
        str | None, typer.Option(help="Sub-path under which a proxy shows the app; sets label.root_path.")
    ] = None,
    test_notice: Annotated[
        bool, typer.Option("--test-notice", help="Send a test to label.notices.addresses, and do nothing else.")
    ] = False,
) -> None:
    """Open the labeling app, or let simulated annotators answer."""
    given = {"label.host": host, "label.port": port, "label.root_path": root_path}
    overrides = [*(set_ or []), *(f"{field}={value}" for field, value in given.items() if value is not None)]
    if test_notice:
        labels.test_notices(run, config, overrides)
        return
    ends = "label" if simulate else None
    with open_run(run, config, overrides, alone=False, new=_can_label_at_once, ends=ends) as opened:
        from pipeline import stages
        from pipeline.runs.label_store import check_labels

        if not _can_label_at_once(opened[1]):
            check_labels(opened[0], opened[1])
        stages.label(*opened, simulated=simulate)


@app.command("import")
def import_(
    file: Annotated[
        str, typer.Argument(help="JSON, JSON Lines, CSV or Parquet, also gzipped; or hub:OWNER/NAME:SPLIT.")
    ],
    format: Annotated[str, typer.Option("--format", help=f"One of {', '.join(FORMATS)}.")],
    run: RunOption = DEFAULT_RUN,
    config: ConfigOption = None,
    set_: SetOption = None,
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FIELD=COLUMN", help="Where a field is, as in prompt=instruction; repeatable."),
    ] = None,
    question: Annotated[str | None, typer.Option(help="The question that decides, of an annotation tool's.")] = None,
    scale: Annotated[int | None, typer.Option(help="The highest rating, if the file does not say it.")] = None,
    submitted: Annotated[
        bool, typer.Option("--submitted", help="Answers that carry no status were submitted, not drafts.")
    ] = False,
    simulated: Annotated[bool, typer.Option("--simulated", help="A program judged, no people.")] = False,
    gold: Annotated[
        bool, typer.Option("--gold", help="Take the answers as known: tasks that test annotators.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show how the file is read, and store nothing.")] = False,
    report: Annotated[Path | None, typer.Option(help="Where to write what was refused, and why.")] = None,
) -> None:
    """Take in existing judgements, tasks whose answer is known, or responses to judge."""
    with open_run(run, config, set_, alone=False, new=True, ends=None if dry_run else "import") as opened:
        from pipeline import stages
        from pipeline.importing import ImportOptions, columns_of

        options = ImportOptions(
            format, columns_of(map_ or ()), question, scale, submitted=submitted, gold=gold, simulated=simulated,
            dry_run=dry_run, report=report,
        )  # fmt: skip
        stages.import_labels(*opened, file, options)
        if not dry_run:
            remember_new(opened[0], config, set_)


@app.command()
def reward(run: RunOption = DEFAULT_RUN, config: ConfigOption = None, set_: SetOption = None) -> None:
    """Train the reward model on the judgements."""
    with open_run(run, config, set_, ends="reward") as opened:
        from pipeline import stages

        stages.reward(*opened)


@app.command()
def policy(
    run: RunOption = DEFAULT_RUN,
    config: ConfigOption = None,
    set_: SetOption = None,
    profile: Annotated[bool, typer.Option("--profile", help="Record one step, to see where its time goes.")] = False,
    accept_weak_reward: WeakOption = False,
) -> None:
    """Tune the policy adapter against the reward model."""
    with open_run(run, config, _with_weak(set_, accept_weak_reward), new=_nobody_is_needed, ends="policy") as opened:
        from pipeline import stages

        stages.policy(*opened, profile=profile)


@app.command()
def evaluate(run: RunOption = DEFAULT_RUN, config: ConfigOption = None, set_: SetOption = None) -> None:
    """Compare the policy with the base on held-out prompts."""
    with open_run(run, config, set_, ends="evaluate") as opened:
        from pipeline import stages

        stages.evaluate(*opened)


@app.command()
def loop(
    run: RunOption = DEFAULT_RUN,
    config: ConfigOption = None,
    set_: SetOption = None,
    simulate: SimulateOption = False,
    rounds: Annotated[int, typer.Option(min=1, help="How many rounds the run shall have.")] = 1,
    accept_weak_reward: WeakOption = False,
) -> None:
    """Run every stage in turn; what is whole is skipped."""
    with open_run(run, config, _with_weak(set_, accept_weak_reward), new=True) as opened:
        from pipeline import stages

        stages.loop(*opened, simulated=simulate, rounds=rounds)


@app.command()
def report(run: RunOption = DEFAULT_RUN, config: ConfigOption = None, set_: SetOption = None) -> None:
    """Write report.html."""
    with open_run(run, config, set_, alone=False) as opened:
        from pipeline import stages

        stages.report(*opened)


@app.command()
def score(
    file: Annotated[Path, typer.Argument(help="JSON Lines with a prompt and a response each.")],
    reward: Annotated[Path, typer.Option(help="Reward folder.")],
    out: Annotated[Path, typer.Option(help="Where to write the rows with their scores.")],
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Score responses with a reward model."""
    from pipeline.config.config import load_config

    settings = load_config(config, set_ or ())
    from pipeline import tools

    tools.score(settings, Console(), reward_folder=reward, file=file, out=out)


@app.command("evaluate-reward")
def evaluate_reward(
    reward: Annotated[Path, typer.Option(help="Reward folder.")],
    pairs: Annotated[
        Path, typer.Option(help="Pairs in TRL's preference format, or hh text; or a test set as RewardBench 2 or PPE.")
    ],
    json: Annotated[Path | None, typer.Option(help="Where to write the figures as JSON.")] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Another one: a reward folder, or a sequence-classification model, as a folder or hub id."),
    ] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Measure a reward model on pairs: accuracy, baselines, calibration, biases, agreement with annotators."""
    from pipeline.config.config import load_config

    settings = load_config(config, set_ or ())
    from pipeline import tools

    tools.evaluate_reward(settings, Console(), reward_folder=reward, pairs=pairs, out=json, against=against)


@app.command()
def merge(
    adapter: Annotated[Path, typer.Argument(help="Exported adapter folder, or reward folder.")],
    out: Annotated[Path, typer.Argument(help="Folder for the merged model.")],
    model: Annotated[str | None, typer.Option(help="Base model, if it is not where the adapter says.")] = None,
    dtype: exports.DtypeOption = None,
) -> None:
    """Merge an exported adapter, or a reward model, into its base model."""
    from pipeline import tools

    tools.merge(adapter, out, model, dtype)


@app.command()
def play(
    file: Annotated[Path, typer.Argument(help="YAML file of a small task, such as those in configs/play.")],
    out: Annotated[Path | None, typer.Option(help="Where to draw the learning curve: a PNG or SVG file.")] = None,
    set_: SetOption = None,
) -> None:
    """Let a textbook algorithm learn a small task of writing."""
    from pipeline.play import load, play

    play(load(file, set_ or ()), Console(), out)


def _with_weak(set_: list[str] | None, accepted: bool) -> list[str]:
    return [*(set_ or ()), *(["policy.accept_weak_reward=true"] if accepted else [])]


def main() -> None:
    """Run the command that was typed; called by `pipeline/__main__.py`."""
    # PEFT 0.21 still asks transformers by an old name; nobody who reads the terminal can do anything about it.
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
    app(prog_name="rlhf")
