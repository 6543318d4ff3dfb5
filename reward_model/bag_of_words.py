"""A bag of words fitted to preferences: a baseline that knows no order of words and never reads the prompt.

It is saved beside the reward model that was trained on the same pairs, to be measured on the same held-out pairs.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foundation.errors import UserError
from foundation.files import read_json, write_text
from reward_model.labels.records import Pair

_WORD = r"(?u)\b\w+\b"

_MAX_WORDS = 10_000

_PENALTY = 0.1


@dataclass(frozen=True)
class BagOfWords:
    """A weight for each word; a response scores the sum of weight times log(1 + count)."""

    weights: dict[str, float]

    @classmethod
    def fit(cls, pairs: Sequence[Pair]) -> BagOfWords:
        """Logistic regression on feature differences: Bradley and Terry 1952 with words as covariates.

        Each pair is shown in both orders and there is no intercept, so that swapping a pair flips the
        prediction exactly. Words in one response only are ignored.
        """
        # Scoring needs none of these, and together they take 100 MB.
        from scipy.sparse import vstack
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.linear_model import LogisticRegression

        texts = [p.chosen for p in pairs] + [p.rejected for p in pairs]
        words = CountVectorizer(token_pattern=_WORD, min_df=2, max_features=_MAX_WORDS)
        try:
            counts = words.fit_transform(texts).astype(float)
        except ValueError:  # no word occurs twice
            return cls({})
        features = counts.log1p()
        difference = features[: len(pairs)] - features[len(pairs) :]
        both = vstack([difference, -difference]).tocsr()
        labels = np.repeat([1, 0], len(pairs))
        model = LogisticRegression(C=_PENALTY, fit_intercept=False, max_iter=1000).fit(both, labels)
        names = words.get_feature_names_out()
        return cls({str(name): round(float(w), 5) for name, w in zip(names, model.coef_[0], strict=True)})

    def score(self, text: str) -> float:
        """The score of one response."""
        counts = Counter(re.findall(_WORD, text.lower()))
        return float(sum(self.weights.get(word, 0.0) * np.log1p(n) for word, n in counts.items()))

    def differences(self, pairs: Sequence[Pair]) -> np.ndarray:
        """Score of chosen less score of rejected: (pairs,)."""
        return np.array([self.score(p.chosen) - self.score(p.rejected) for p in pairs])

    def save(self, path: Path) -> None:
        """Write the weights as JSON on one line."""
        write_text(path, json.dumps(self.weights, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> BagOfWords:
        """Read what `save` wrote."""
        weights = read_json(path)
        if not isinstance(weights, dict) or not all(isinstance(w, int | float) for w in weights.values()):
            raise UserError(f"{path}: expected one JSON object of words and weights. Train the reward model again.")
        return cls(weights)
