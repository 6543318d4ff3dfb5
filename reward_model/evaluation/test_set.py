"""Published test sets whose prompts have many responses, of which some are right, and their own scores.

Two layouts are read: that of RewardBench 2 (Malik et al. 2025), and that of PPE's correctness sets (Frick et al. 2024).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, takewhile
from math import comb
from typing import Any

import numpy as np

from foundation.errors import UserError
from reward_model.evaluation.accuracy import share
from reward_model.labels.records import Message, Row, conversation_key

Score = Callable[[Sequence[tuple[Message, ...]], Sequence[str]], np.ndarray]
"""Scores (n,) of responses to conversations, one of each for each score."""

TIES = "ties"
_TIED = re.compile(r"(ref|tied):(\d+)")


@dataclass(frozen=True)
class Question:
    """Responses to one prompt, and how right each is: (responses,), 0 to 1."""

    id: str
    subset: str
    prompt: tuple[Message, ...]
    responses: tuple[str, ...]
    right: np.ndarray


def is_test_set(row: Row) -> bool:
    """Whether a file that begins with this row is in one of the layouts, or meant to be."""
    return "response_1" in row or any(_is_texts(row.get(side)) for side in ("chosen", "rejected"))


def questions(rows: Sequence[tuple[int, Row]], file: str) -> list[Question]:
    """Rows, each with its line, as questions; `UserError` names the line of a row that is none."""
    found: list[Question] = []
    tied: dict[tuple[str, int], str] = {}
    for line, row in rows:
        where = f"{file}, line {line}"
        prompt = row.get("prompt")
        if not isinstance(prompt, str) or not prompt.strip():
            raise UserError(f'{where}: the field "prompt" must be a text.')
        responses, right = (_best_of_k if "response_1" in row else _rewardbench)(row, where)
        if not all(isinstance(text, str) for text in responses):
            raise UserError(f"{where}: every response must be a text.")
        name = str(row.get("id") or row.get("question_id") or line)
        subset = str(row.get("subset") or "all")
        if subset.lower() == TIES:
            if not _TIED.fullmatch(name):
                raise UserError(f'{where}: a question of the subset "ties" needs an "id" such as "ref:7" or "tied:7".')
            before = tied.setdefault(_parts(name), where)
            if before is not where:
                raise UserError(f"{where}: the question {name} is there already ({before}). Remove one of the two.")
        found.append(Question(name, subset, ({"role": "user", "content": prompt},), tuple(responses), right))
    if tied and not any(("ref", number) in tied and ("tied", number) in tied for _, number in tied):
        raise UserError(f'{file}: "ties" needs questions with the ids "ref:N" and "tied:N" of the same number N.')
    return found


def contradictory(asked: Sequence[Question]) -> list[str]:
    """The ids of questions in which the same text is right to two degrees."""
    return [one.id for one in asked if len(set(zip(one.responses, one.right, strict=True))) > len(set(one.responses))]


def figures(asked: Sequence[Question], score: Score) -> dict[str, Any]:
    """Scores of a reward model on `asked`, by subset, and their mean as `score`.

    A subset is scored as in RewardBench 2: the share of prompts whose right response scores highest, divided among
    those that share the highest score; the subset "ties" by `ties_score`. Where one in a subset has several right
    responses, or none, `best_of_k` is given beside that share.
    """
    prompts = [one.prompt for one in asked for _ in one.responses]
    scores = score(prompts, [text for one in asked for text in one.responses])
    ends = np.cumsum([len(one.responses) for one in asked])
    by_subset: dict[str, list[tuple[Question, np.ndarray]]] = defaultdict(list)
    for one, its in zip(asked, np.split(scores, ends[:-1]), strict=True):
        by_subset[one.subset].append((one, its))
    subsets: dict[str, dict[str, Any]] = {}
    for name, judged in sorted(by_subset.items()):
        if name.lower() == TIES:
            subsets[name] = ties_score([(one.id, its, one.right) for one, its in judged])
            continue
        first = np.array([_first(its, one.right) for one, its in judged])
        subsets[name] = share(first, [conversation_key(one.prompt) for one, _ in judged], "score")
        if any((one.right > 0).sum() != 1 for one, _ in judged):
            subsets[name] |= best_of_k([(its, one.right) for one, its in judged])
    return {"score": float(np.mean([found["score"] for found in subsets.values()])), "subsets": subsets}


def ties_score(judged: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """The score of RewardBench 2's "ties", from `(id, scores, right)` of each question.

    Of the same prompt, "ref:N" has one right response, "tied:N" several. 0.3 each: the share of "ref" and of "tied"
    whose right responses all score above every wrong one. 0.2 each: the share of prompts whose right responses lie
    closer together than they lie above the best wrong one, in "tied", and in both. 0.01: by how much, as the mean of
    tanh(ratio - 1).
    """
    inside: dict[int, float] = {}
    above: dict[str, dict[int, float]] = {"ref": {}, "tied": {}}
    for name, scores, right in judged:
        kind, number = _parts(name)
        good, bad = scores[right > 0], scores[right <= 0]
        above[kind][number] = float(good.min() - bad.max())
        if kind == "tied":
            inside[number] = float(good.max() - good.min())
    both = sorted(above["ref"].keys() & above["tied"].keys())
    spread = np.array([inside[number] for number in both])
    tied = np.array([above["tied"][number] for number in both])
    least = np.minimum(tied, [above["ref"][number] for number in both])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.nan_to_num(np.tanh(least / spread - 1), nan=0.0)
    ref_accuracy, tied_accuracy = (float(np.mean([gap > 0 for gap in above[kind].values()])) for kind in above)
    closer, closer_in_both = float(np.mean(tied > spread)), float(np.mean(least > spread))
    score = 0.3 * (ref_accuracy + tied_accuracy) + 0.2 * (closer + closer_in_both) + 0.01 * float(ratio.mean())
    return {
        "score": score,
        "ref_accuracy": ref_accuracy,
        "tied_accuracy": tied_accuracy,
        "closer": closer,
        "closer_in_both": closer_in_both,
        "n": len(judged),
    }


def best_of_k(judged: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """How right the response is that scores highest among k, from `(scores, right)` of each question.

    `curve`: expected over all choices of k responses, for k of 1 to K, the fewest that a question has; `maximum` and
    `end` of the curve, and `error`, its mean squared distance from the curve of one who knows which are right.
    `pair_accuracy`: the share of pairs of a right and a wrong response that the scores order, meant over questions.
    """
    fewest = min(len(scores) for scores, _ in judged)
    curve = np.mean([_expected(scores, right, fewest) for scores, right in judged], axis=0)
    best = np.mean([_expected(right, right, fewest) for _, right in judged], axis=0)
    pairs = [found for scores, right in judged if (found := _ordered(scores, right)) is not None]
    return {
        "curve": [round(float(value), 6) for value in curve],
        "maximum": float(curve.max()),
        "end": float(curve[-1]),
        "error": float(((best - curve) ** 2).mean()),
        "pair_accuracy": float(np.mean(pairs)) if pairs else None,
    }


def _expected(scores: np.ndarray, right: np.ndarray, most: int) -> np.ndarray:
    """By k of 1 to `most`, how right the highest of k responses chosen at random is; equal scores share their place."""
    order = np.argsort(scores, kind="stable")
    ranked = right[order].astype(float)
    _, place = np.unique(scores[order], return_inverse=True)
    ranked = (np.bincount(place, ranked) / np.bincount(place))[place]
    n = len(scores)
    return np.array([sum(comb(i, k - 1) * ranked[i] for i in range(n)) / comb(n, k) for k in range(1, most + 1)])


def _ordered(scores: np.ndarray, right: np.ndarray) -> float | None:
    good, bad = scores[right > 0.5], scores[right <= 0.5]
    if not len(good) or not len(bad):
        return None
    return float(((np.sign(good[:, None] - bad[None, :]) + 1) / 2).mean())


def _first(scores: np.ndarray, right: np.ndarray) -> float:
    return float(right[scores == scores.max()].mean())


def _is_texts(side: object) -> bool:
    return isinstance(side, list) and bool(side) and all(isinstance(text, str) for text in side)


def _rewardbench(row: Mapping[str, Any], where: str) -> tuple[list[str], np.ndarray]:
    if not all(_is_texts(row.get(side)) for side in ("chosen", "rejected")):
        raise UserError(
            f'{where}: a question needs "chosen" and "rejected", each a list of one text or more, or "response_1" to '
            '"response_K" and "scores".'
        )
    right = [1.0] * len(row["chosen"]) + [0.0] * len(row["rejected"])
    return [*row["chosen"], *row["rejected"]], np.array(right)


def _best_of_k(row: Mapping[str, Any], where: str) -> tuple[list[str], np.ndarray]:
    names = list(takewhile(row.__contains__, (f"response_{number}" for number in count(1))))
    given = row.get("scores")
    if not isinstance(given, list) or len(given) != len(names):
        raise UserError(
            f'{where}: needs in "scores" how right each is of its {len(names)} responses, "response_1" to '
            f'"response_{len(names)}".'
        )
    if not all(isinstance(value, bool | int | float) and 0 <= value <= 1 for value in given):
        raise UserError(f'{where}: "scores" must be true, false or numbers from 0 to 1.')
    return [row[name] for name in names], np.array([float(value) for value in given])


def _parts(name: str) -> tuple[str, int]:
    kind, number = name.split(":")
    return kind, int(number)
