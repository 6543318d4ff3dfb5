"""The label settings of a run: the label store keeps those of a campaign, and a command changes only what it names.

What it names stands in its `--config` file, in the environment or in `--set`. Settings that change what answers mean
make a new version of the campaign (`labeling_ui/store/campaigns.py`).
"""

from collections import Counter
from datetime import datetime

from pydantic import ValidationError
from rich.console import Console

from foundation.errors import UserError
from labeling_ui.campaign import Campaign
from labeling_ui.store.campaign_rules.rules import CampaignRules
from labeling_ui.store.store import Store
from pipeline.config import sources
from pipeline.config.config import Config, load_config
from pipeline.runs.folder import Run
from pipeline.runs.label_store import label_store


def apply_label_settings(run: Run, config: Config, console: Console) -> Config:
    """Change what the command names in a campaign that is there; returns the configuration with all its settings.

    A campaign that is not there is left to whoever adds its tasks.
    """
    with label_store(run, config) as store:
        return _applied(store, config, console)


def open_campaign(run: Run, config: Config, console: Console) -> Config:
    """As `apply_label_settings`, for labeling: remembers the settings, and makes the campaign if it is not there.

    `UserError` if it was asked for by name or kind, and has no tasks, while another campaign has.
    """
    with label_store(run, config) as store:
        config = _applied(store, config, console, serving=True)
        wanted = config.label.campaign
        counts = store.tasks_by_campaign()
        if counts and not counts.get(wanted.name) and not wanted.live:
            if config.label.model_fields_set & {"name", "kind"}:
                raise UserError(_nothing_to_ask(store, wanted, counts))
        else:
            CampaignRules(store.database).begin(wanted)
    _remember(run, config)
    return config


def _applied(store: Store, config: Config, console: Console, serving: bool = False) -> Config:
    named = {name: getattr(config.label, name) for name in config.label.model_fields_set & Campaign.model_fields.keys()}

    def change(known: Campaign) -> Campaign:
        if known.is_verdict:
            raise UserError(
                f'the campaign "{known.name}" is a verdict, and stays as it was opened. Choose another label.name.'
            )
        try:
            return Campaign.model_validate({**dict(known), **named})
        except ValidationError as error:
            said = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise UserError(f'the campaign "{known.name}" cannot be changed like this: {said}.') from error

    done = CampaignRules(store.database).change(config.label.name, change, asked=serving)
    if done is None:
        return config
    known, now, version = done.before.campaign, done.now.campaign, done.before.version
    changes = [
        f"{name} {_brief(getattr(now, name))} (was {_brief(getattr(known, name))})"
        for name in named
        if getattr(now, name) != getattr(known, name)
    ]
    if changes:
        console.print(f'label: the campaign "{now.name}" has {", ".join(changes)}.', markup=False, soft_wrap=True)
    if done.now.version > version:
        console.print(
            f"label: it is at version {version + 1} now. Its tasks are asked anew; what was said keeps its meaning."
            f"{_known_answers_left(store, known.name, version)}",
            soft_wrap=True,
        )
    return config.model_copy(update={"label": config.label.with_campaign(now)})


def _known_answers_left(store: Store, name: str, version: int) -> str:
    """Of a campaign's version that was followed by another: how many known answers are not among its tasks."""
    gold = Counter(task.version for task in store.tasks() if task.campaign == name and task.gold is not None)
    left = gold[version] - gold[version + 1]
    return f" {left} known answers say nothing of what is asked now: import others with --gold." if left > 0 else ""


def _nothing_to_ask(store: Store, wanted: Campaign, counts: dict[str, int]) -> str:
    there = ", ".join(
        f'"{each.name}" ({each.kind}, {counts[each.name]} tasks)' for each in store.campaigns() if counts.get(each.name)
    )
    same = f"--set label.kind={wanted.kind} --set label.name={wanted.name}"
    return (
        f'the campaign "{wanted.name}" ({wanted.kind}) has no tasks: nobody would be asked anything in it. There are '
        f"tasks in {there}. Make some for it by `rlhf collect {same}` or `rlhf import --format FORMAT FILE {same}`, or "
        "leave these settings out."
    )


def _remember(run: Run, config: Config) -> None:
    """Keep the label settings, and nothing else of this command, with the configuration that was last used."""
    before = load_config(run.config_file, environment={}) if run.config_file.is_file() else config
    sources.save(before.model_copy(update={"label": config.label}), run.config_file)


def _brief(value: object) -> str:
    text = (
        value.isoformat() if isinstance(value, datetime) else repr(list(value) if isinstance(value, tuple) else value)
    )
    return text if len(text) <= 60 else f"{text[:57]}..."
