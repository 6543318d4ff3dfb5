"""Reading the labels of one campaign, or of all, from the store: the quality report and every export start here.

What was said in a verdict is read by its campaign's name alone: it is never among all labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from foundation.errors import UserError
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Annotator, Judgement, Task
from labeling_ui.store.review.work import time_spent
from labeling_ui.store.store import Store


@dataclass(frozen=True, slots=True)
class Labels:
    """All campaigns by name, tasks by id, annotators, and judgements in the order of their arrival.

    `versions` are the settings under which tasks were answered, by campaign and version; `spent` is the time on tasks
    that an annotator came back to, by task and annotator.
    """

    campaigns: Mapping[str, Campaign]
    tasks: Mapping[str, Task]
    annotators: Sequence[Annotator]
    judgements: Sequence[Judgement]
    versions: Mapping[tuple[str, int], Campaign] = field(default_factory=dict)
    spent: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def seconds(self, judgement: Judgement) -> float | None:
        """The time spent on its task in all, answers that were changed or taken back since included."""
        return self.spent.get((judgement.task_id, judgement.annotator_id), judgement.seconds)

    def campaign_of(self, task: Task) -> Campaign:
        """What annotators were asked of the task, in its version of the campaign."""
        return self.versions.get((task.campaign, task.version)) or self.campaigns[task.campaign]

    def of_campaign(self, name: str) -> "Labels":
        """Those of one of the campaigns."""
        tasks = {task_id: task for task_id, task in self.tasks.items() if task.campaign == name}
        judgements = [each for each in self.judgements if each.task_id in tasks]
        return Labels(self.campaigns, tasks, self.annotators, judgements, self.versions, self.spent)


def check_campaign(store: Store, campaign: str | None) -> dict[str, Campaign]:
    """All campaigns by name; `UserError` if there is none of the name that is asked for."""
    campaigns = {each.name: each for each in store.campaigns()}
    if campaign is not None and campaign not in campaigns:
        there = ", ".join(sorted(campaigns)) or "none"
        raise UserError(f'there is no campaign "{campaign}" among the labels; there is: {there}. Check the name.')
    return campaigns


def read_labels(store: Store, campaign: str | None = None, simulated: bool | None = None) -> Labels:
    """Read one campaign, or all but those of verdicts, by all annotators or the simulated or the human ones alone.

    Removed tasks are left out. `UserError` if there is no such campaign.
    """
    campaigns = check_campaign(store, campaign)
    counted = [each for each in store.annotators() if simulated is None or each.simulated == simulated]
    ids = {each.id for each in counted}
    wanted = {name for name, each in campaigns.items() if campaign == name or (not campaign and not each.is_verdict)}
    tasks = {task.id: task for task in store.tasks() if task.campaign in wanted and task.state != "removed"}
    judgements = [each for each in store.judgements() if each.annotator_id in ids and each.task_id in tasks]
    versions = {key: each.campaign for key, each in store.versions().items()}
    with store.database.read() as connection:
        spent = time_spent(connection)
    return Labels(campaigns, tasks, counted, judgements, versions, spent)
