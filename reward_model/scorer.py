"""A trained reward model that scores responses.

The score of a response is the head's output on the final hidden state of the last token of prompt +
completed response; or that of a probe on states of the base without an adapter, where that was found to be better. The
base may already be in memory; the model knows neither how it was trained nor what the scores are for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, overload

import torch

from backbone.adapters import SharedBase
from backbone.batching import by_length, by_prompt
from backbone.exactness import load_shared_base
from backbone.hidden_states import last_states, shares_prompts
from backbone.loading.settings import Quantization
from backbone.templates.plain_text import saved_choice
from backbone.tokens import Ids, pad_right
from foundation.errors import UserError
from foundation.files import read_json
from reward_model.bag_of_words import BagOfWords
from reward_model.frozen_states import load_probe, probed, states_of
from reward_model.reward_folder import FIGURES, WORDS, check_reward_folder, is_probe
from reward_model.score_head import load_aspect_heads
from reward_model.uncertainty import Laplace

ADAPTER = "reward"


@dataclass(frozen=True)
class RewardScorer:
    """The reward adapter `name` on `base`, and the rule by which its sequences were cut in training.

    `bag_of_words` is the baseline that was fitted on the same training pairs, `posterior` says how sure the head is;
    each is None if it was not saved. A score difference over `temperature` is the log-odds of a preference
    (`calibration.py`); scores are never divided by it. `aspects` are the heads (d,) of what annotators rated apart from
    the whole. `on_batch` is told the number of responses of each batch that is done. A `probe` (2d,) takes the place
    of adapter and head: it reads what `frozen_states.probed` says, of the base alone.
    """

    base: SharedBase
    name: str | None = ADAPTER
    max_length: int | None = None
    bag_of_words: BagOfWords | None = None
    posterior: Laplace | None = None
    temperature: float | None = None
    on_batch: Callable[[int], None] = lambda responses: None
    aspects: Mapping[str, torch.Tensor] = field(default_factory=dict)
    probe: torch.Tensor | None = None

    @classmethod
    def load(
        cls,
        folder: Path | str,
        base: SharedBase | None = None,
        *,
        dtype: str = "auto",
        device: str = "auto",
        quantization: Quantization | None = None,
        name: str = ADAPTER,
    ) -> RewardScorer:
        """Load a reward folder, onto `base` if one is given, else onto a base of its own.

        `dtype`, `device` and `quantization` are for a base of its own. `UserError` if the folder is missing or damaged,
        is not a reward model, was made for another base, or has a head that was never trained.
        """
        folder = Path(folder)
        model = check_reward_folder(folder)
        base = base or load_shared_base(model, dtype, device, saved_choice(folder), quantization)
        settings = read_json(folder / FIGURES) if (folder / FIGURES).is_file() else {}
        probe = load_probe(folder, base.hidden_size) if is_probe(folder) else None
        if probe is None:
            base.load_adapter(name, folder)
        words = BagOfWords.load(folder / WORDS) if (folder / WORDS).is_file() else None
        return cls(
            base,
            name if probe is None else None,
            settings.get("max_length"),
            bag_of_words=words,
            posterior=Laplace.load(folder),
            temperature=settings.get("temperature"),
            aspects=load_aspect_heads(folder, base.hidden_size) if probe is None else {},
            probe=probe,
        )

    @overload
    def score(
        self, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids], *, return_std: Literal[False] = False
    ) -> torch.Tensor: ...

    @overload
    def score(
        self, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids], *, return_std: Literal[True]
    ) -> tuple[torch.Tensor, torch.Tensor]: ...

    def score(
        self, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids], *, return_std: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Scores (n,), float32 on the CPU, in the order given; a response that was cut off is scored as it stands.

        A score does not depend on what else is in the call. With `return_std`, the posterior standard deviation of each
        score as well. `UserError` names the samples whose score is not a number.
        """
        features = self.features_of(prompt_ids, response_ids)
        scores = self.scores(features)
        if not return_std:
            return scores
        if self.posterior is None:
            raise UserError(
                "this reward model does not say how sure it is: train it again to have its uncertainty saved."
            )
        return scores, self.posterior.variance(features).sqrt()

    def aspect_scores(self, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids]) -> dict[str, torch.Tensor]:
        """Scores (n,) by rated aspect, float32 on the CPU; none if no aspect was rated apart from the whole."""
        if not self.aspects:
            return {}
        features = self.features_of(prompt_ids, response_ids)
        return {name: features @ head for name, head in self.aspects.items()}

    def score_sequences(self, sequences: Sequence[Ids]) -> torch.Tensor:
        """As `score`, for whole sequences that were rendered already; not by a probe, which reads responses."""
        return self.scores(self.features(sequences))

    def features_of(self, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids]) -> torch.Tensor:
        """What the head sees of each response, rendered and cut as `score` does it: (n, d), float32 on the CPU."""
        fit, completed = self.base.renderer.fit, self.base.renderer.completed
        longest = min(self.max_length or self.base.renderer.max_length, self.base.renderer.max_length)
        pairs = zip(prompt_ids, response_ids, strict=True)
        kept = [fit(prompt, completed(response), longest)[:2] for prompt, response in pairs]
        return self.shared_features([prompt for prompt, _ in kept], [response for _, response in kept])

    @torch.no_grad()
    def features(self, sequences: Sequence[Ids]) -> torch.Tensor:
        """What the head sees of each sequence, the final hidden state of its last token: (n, d), float32 on the CPU."""
        if self.probe is not None:
            raise UserError("this reward model is a probe, which reads responses: give prompts and responses apart.")
        device = self.base.device
        found = torch.zeros(len(sequences), self.head.shape[0])
        with self.base.using(self.name):
            for batch in by_length([len(sequence) for sequence in sequences], most_tokens=self.base.sizes.score_tokens):
                ids, mask = pad_right([sequences[i] for i in batch], self.base.renderer.pad_id)
                states = self.base.hidden_states(ids.to(device), mask.to(device))
                last = states[torch.arange(len(batch), device=device), mask.sum(1).to(device) - 1]
                found[batch] = last.float().cpu()
                self.on_batch(len(batch))
        return found

    @torch.no_grad()
    def shared_features(self, prompts: Sequence[Ids], responses: Sequence[Ids]) -> torch.Tensor:
        """As `features`, with the prompt of several responses computed once where that is possible."""
        if self.probe is not None:
            return probed(states_of(self.base, prompts, responses, self.on_batch, final=False))
        if not prompts or not shares_prompts(self.base, prompts, responses):
            return self.features([[*prompt, *response] for prompt, response in zip(prompts, responses, strict=True)])
        longest = max(len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True))
        found = torch.zeros(len(prompts), self.head.shape[0])
        with self.base.using(self.name):
            for rows in by_prompt(prompts, responses, max(1, self.base.sizes.score_tokens // longest)):
                states = last_states(self.base, [prompts[i] for i in rows], [responses[i] for i in rows])
                found[rows] = states.float().cpu()
                self.on_batch(len(rows))
        return found

    @property
    def unsure(self) -> bool:
        """Whether it can say how sure it is: whether `score` takes `return_std`."""
        return self.posterior is not None

    @property
    def head(self) -> torch.Tensor:
        """The head's weights: (d,), float32 on the CPU; those of the probe if there is one."""
        if self.probe is not None:
            return self.probe
        assert self.name is not None
        return self.base.heads[self.name].weight.detach().float().cpu().squeeze(0)

    def scores(self, features: torch.Tensor) -> torch.Tensor:
        """The head's output for features (n, d): (n,). `UserError` if one is not finite."""
        scores = features @ self.head
        wrong = (~scores.isfinite()).nonzero().flatten().tolist()
        if wrong:
            named = ", ".join(str(i) for i in wrong[:10])
            raise UserError(
                f"the reward model gave no finite score for {len(wrong)} of {len(scores)} samples "
                f"(numbers {named}, from 0). Its weights are damaged or the dtype overflows: "
                "try dtype=float32, or train it again."
            )
        return scores
