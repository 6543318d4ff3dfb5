"""Which weights a training ends with: the last ones, unless a judge that was not tuned towards prefers earlier ones.

Weights that are kept above the target of the KL are moved towards the base until they are there, with a judge or
without one.

At the start, at every checkpoint and at the end the policy answers the same prompts with the same random streams, and
the judge scores the answers. Differences are paired by prompt, so that few prompts tell much. An earlier checkpoint is
taken if it is better beyond chance, and training ends early if it has become worse beyond doubt.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from backbone.adapters import SharedBase
from backbone.logprobs import response_kl
from backbone.sampling import sample
from backbone.tokens import Ids
from foundation.files import write_jsonl
from policy.alarms import JUDGE
from policy.config import PolicyConfig
from policy.finished import CHECKPOINTS
from policy.native.controls import sampling_of
from policy.native.master_weights import Copies
from policy.native.training_state import ADAPTER, Row, TrainState
from policy.scorer_protocol import Scorer, checked_scores

FILE = "judged.jsonl"
_BEST = "best.pt"
_PROMPTS = 64
_BETTER, _WORSE = 1.645, 2.326  # standard errors: 5% and 1% by chance, one-sided
_INTERVAL = 1.96
_ABOVE = 1.15  # times the target of the KL: what 64 responses tell from it
_TRIES = 3


class Selection:
    """The judged checkpoints of a training in `folder`: rows of step, KL and one score for each prompt.

    Without a judge there are none, and the weights that training ends with are kept.
    """

    def __init__(
        self, config: PolicyConfig, base: SharedBase, judge: Scorer | None, prompts: Sequence[Ids], folder: Path,
        seed: int, accelerator: Accelerator,
    ) -> None:  # fmt: skip
        self._config, self._base, self._judge, self._folder = config, base, judge, folder
        self._asked, self._seed, self._accelerator = list(prompts[:_PROMPTS]), seed, accelerator
        self._rows: list[Row] = []

    def go_on(self, state: TrainState) -> None:
        """Take up what was judged up to the state's step, from where training goes on; judge the start."""
        path, rows = self._folder / FILE, []
        if self._accelerator.is_main_process and path.is_file():
            known = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            rows = [row for row in known if row["step"] <= state.step and "adapter_scale" not in row]
        (self._rows,) = broadcast_object_list([rows])  # a late process would see what the main one has just written
        if not self._rows:
            self.look(state)

    def look(self, state: TrainState) -> Row:
        """Judge the policy as it is; returns `judge_gain` over the start, in standard deviations, and its interval.

        The weights that the judge likes best, within the budget of the KL, are kept. Of a single prompt there is no
        interval, and nothing is returned.
        """
        if self._judge is None:
            return {}
        if self._accelerator.is_main_process:
            self._rows.append({"step": state.step, **self._judged()})
            write_jsonl(self._folder / FILE, self._rows)
            if self._best() is self._rows[-1]:
                torch.save(state.policy.copies(), self._folder / CHECKPOINTS / _BEST)
        (self._rows,) = broadcast_object_list([self._rows])  # all processes go by what one has seen
        return self._gain(self._rows[-1])

    def choose(self, state: TrainState, ended: bool) -> Row:
        """Give the policy earlier weights if the judge prefers them: at the end, beyond chance; before, beyond doubt.

        Returns `kept_step`, and `stopped` if training is to end here; nothing if it goes on, or ends with its last
        weights.
        """
        best = self._best()
        if best is None or not (ended or JUDGE in self._config.stop_on):
            return {}
        gain, error = _difference(best, self._rows[-1])
        if gain <= (_BETTER if ended else _WORSE) * error:
            return {}
        self._accelerator.wait_for_everyone()
        path = self._folder / CHECKPOINTS / _BEST
        state.policy.put(torch.load(path, map_location=self._base.device, weights_only=True))
        return {"kept_step": best["step"]} | ({} if ended else {"stopped": [JUDGE]})

    def to_target(self, state: TrainState, kept: int | None) -> Row:
        """Move the weights that training ends with towards the base, if their KL is above the target.

        An adapter scaled by s lies on the line between the base and the policy, where the KL grows about with s^2, and
        its gain about with s (Rame et al. 2024, "WARP: On the Benefits of Weight Averaged Rewarded Policies", section
        3.3). `kept` is the step whose weights they are; None for the last. Returns `adapter_scale`, `judge_gain` and
        its interval as they are then, and the KL, or nothing.
        """
        target = self._config.kl_target if self._config.kl_coefficient else None
        if not target:
            return {}
        now: Row = {}
        if self._accelerator.is_main_process:
            now = self._of_step(state.step if kept is None else kept)
            whole, scale = state.policy.copies(), 1.0
            for _ in range(_TRIES):
                if now["kl"] <= _ABOVE * target:
                    break
                scale *= math.sqrt(target / now["kl"])
                state.policy.put(_scaled(whole, scale))
                now = {"step": now["step"], "adapter_scale": scale, **self._judged()}
            state.policy.put(whole)
            if self._rows and "adapter_scale" in now:
                write_jsonl(self._folder / FILE, [*self._rows, now])
        (now,) = broadcast_object_list([now])
        if "adapter_scale" not in now:
            return {}
        state.policy.put(_scaled(state.policy.copies(), now["adapter_scale"]))
        return {"adapter_scale": now["adapter_scale"], "kl_kept": now["kl"], **self._gain(now)}

    def _of_step(self, step: int) -> Row:
        """The row of this step, whose weights the policy has; looked at now if it was not judged."""
        known = (row for row in self._rows if row["step"] == step)
        return next(known, None) or {"step": step, **self._judged()}

    def _judged(self) -> Row:
        """How far what the policy answers is from the base, and what it is worth to the judge, if there is one."""
        with self._base.using(ADAPTER):
            drawn = sample(self._base, self._asked, sampling_of(self._config), seed=self._seed)
        said = [one.response_ids for one in drawn]
        kl = response_kl(self._base, ADAPTER, self._asked, said, self._config.temperature)
        found: Row = {"kl": float(kl.mean())}
        if self._judge is not None:
            scores = checked_scores(self._judge, self._asked, said, self._base)
            found["scores"] = [float(score) for score in scores]
        return found

    def _gain(self, row: Row) -> Row:
        if not self._rows:
            return {}
        gain, error = _difference(row, self._rows[0])
        if not math.isfinite(error):
            return {}
        spread = float(torch.tensor(self._rows[0]["scores"]).std(correction=0)) or 1.0
        named = {"judge_gain": gain, "judge_low": gain - _INTERVAL * error, "judge_high": gain + _INTERVAL * error}
        return {name: value / spread for name, value in named.items()}

    def _best(self) -> Row | None:
        """The row of the highest mean score within the budget of the KL, but the start's; None if there is none."""
        budget = self._config.alarms.kl or math.inf
        within = [row for row in self._rows[1:] if row["kl"] <= budget]
        return max(within, key=lambda row: math.fsum(row["scores"]), default=None)


def _scaled(weights: Copies, scale: float) -> Copies:
    """A LoRA whose product is scaled: its B alone."""
    return {name: value * scale if ".lora_B" in name or "lora_embedding_B" in name else value
            for name, value in weights.items()}  # fmt: skip


def _difference(one: Row, other: Row) -> tuple[float, float]:
    """The mean difference of the scores, paired by prompt, and its standard error."""
    differences = torch.tensor(one["scores"], dtype=torch.float64) - torch.tensor(other["scores"], dtype=torch.float64)
    n = len(differences)
    return float(differences.mean()), float(differences.std()) / math.sqrt(n) if n > 1 else math.inf
