"""Two baselines that a reward model has to beat: the longer response wins, and a bag of words.

Neither reads the prompt or knows any order of words. A reward model that does no better has learned length or
vocabulary. Both are applied to the very pairs that the reward model is measured on.
"""

from collections.abc import Sequence

import numpy as np

from reward_model.bag_of_words import BagOfWords
from reward_model.labels.records import Pair

_FOLDS = 5


def longer_wins(pairs: Sequence[Pair]) -> np.ndarray:
    """Difference in words (separated by white space), chosen less rejected: (pairs,)."""
    return np.array([len(p.chosen.split()) - len(p.rejected.split()) for p in pairs], dtype=float)


def cross_validated(pairs: Sequence[Pair]) -> np.ndarray:
    """Bag-of-words differences for each pair from a model that saw nothing of its conversation: (pairs,).

    With fewer than two conversations nothing can be learned, and every difference is zero (a tie).
    """
    from sklearn.model_selection import GroupKFold

    differences = np.zeros(len(pairs))
    groups = np.array([p.conversation_key for p in pairs])
    folds = min(_FOLDS, len(set(groups)))
    if folds >= 2:
        for train, test in GroupKFold(folds).split(groups, groups=groups):
            model = BagOfWords.fit([pairs[i] for i in train])
            differences[test] = model.differences([pairs[i] for i in test])
    return differences
