"""A mixture of rewards: R = sum of lambda_i z_i, where z_i is the i-th reward, normalised and clipped.

Also a function with TRL's `reward_funcs` signature. A gate is a hard constraint: if one reward falls below its
`at_least`, R is that reward's `otherwise`, whatever the rest says. What each reward gave stays readable in `last`. The
running normalisation is state, which training keeps in its checkpoints.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backbone.adapters import SharedBase
from backbone.training.running_moments import RunningMoments
from foundation.errors import UserError
from reward_model.rewards.interface import Reward
from reward_model.rewards.registry import BuiltReward, RewardSpec, build
from reward_model.rewards.texts import Text

Gather = Callable[[list[float]], list[float]]


class Composite:
    """The weighted sum of `rewards`, each by its own spec.

    `last`: by title, what each reward gave in the last call, before normalisation and with pessimism taken off
    (`title`), its standard deviations if it gave any (`title_std`), and 1 where a gate stopped a response (`gated`).
    `gather` joins a process's values with those of the others, so that all normalise alike.
    """

    __name__ = "composite"

    def __init__(self, rewards: Sequence[BuiltReward], gather: Gather = list) -> None:
        titles = Counter(reward.spec.title for reward in rewards)
        twice = [title for title, count in titles.items() if count > 1]
        if not rewards or twice:
            raise UserError(
                f'two rewards are called "{twice[0]}": give one of them a `label`.'
                if twice
                else "the list of rewards is empty: name at least one."
            )
        self.rewards = list(rewards)
        self.last: dict[str, list[float]] = {}
        self._gather = gather
        self._moments = {
            reward.spec.title: RunningMoments() for reward in rewards if reward.spec.normalise == "running"
        }

    def __call__(self, prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float]:
        """R of each completion. A running normalisation takes this batch in before it is used."""
        totals = [0.0] * len(completions)
        stopped: dict[int, float] = {}
        last: dict[str, list[float]] = {}
        for reward in self.rewards:
            spec = reward.spec
            values = last[spec.title] = reward(prompts, completions, **columns)
            if reward.std is not None:
                last[f"{spec.title}_std"] = reward.std
            for row, value in enumerate(self._normalised(spec, values)):
                totals[row] += spec.weight * value
                if spec.at_least is not None and values[row] < spec.at_least:
                    stopped[row] = min(spec.otherwise, stopped.get(row, spec.otherwise))
        if any(reward.spec.at_least is not None for reward in self.rewards):
            last["gated"] = [float(row in stopped) for row in range(len(totals))]
        self.last = last
        return [stopped.get(row, total) for row, total in enumerate(totals)]

    def state(self) -> dict[str, list[float]]:
        """What the running normalisations remember, as JSON."""
        return {title: [moments.count, moments.mean, moments.squares] for title, moments in self._moments.items()}

    def restore(self, state: Mapping[str, Sequence[float]]) -> None:
        """Go on from what `state` gave; `UserError` if it is of another mixture."""
        if state.keys() != self._moments.keys():
            raise UserError(
                f"the saved normalisation is of the rewards {', '.join(state) or 'none'}, this mixture normalises "
                f"{', '.join(self._moments) or 'none'}. Start anew, or use the rewards it was saved with."
            )
        self._moments = {
            title: RunningMoments(mean, squares, int(count)) for title, (count, mean, squares) in state.items()
        }

    def _normalised(self, spec: RewardSpec, values: list[float]) -> list[float]:
        if spec.normalise == "running":
            moments = self._moments[spec.title] = self._moments[spec.title].after(self._gather(values))
            values = [moments.z_score(value) for value in values]
        elif spec.bounds is not None:
            low, high = spec.bounds
            values = [min(1.0, max(0.0, (value - low) / (high - low))) for value in values]
        if spec.clip is not None:
            values = [min(spec.clip[1], max(spec.clip[0], value)) for value in values]
        return values


def compose(
    specs: Sequence[RewardSpec | Mapping[str, Any]],
    *,
    base: SharedBase | None = None,
    learned: Reward | None = None,
    gather: Gather = list,
) -> Composite:
    """The mixture of the rewards that `specs` name; see `registry.build`."""
    return Composite([build(spec, base=base, learned=learned) for spec in specs], gather)
