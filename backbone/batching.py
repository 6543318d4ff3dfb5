"""Batches of sequences of similar length, so that little is padding; and of responses that share their prompt."""

from collections.abc import Sequence

from backbone.tokens import Ids


def by_length(lengths: Sequence[int], most_rows: int | None = None, most_tokens: int | None = None) -> list[list[int]]:
    """Row numbers in batches, the shortest rows first.

    A batch has at most `most_rows` rows and, padding included, at most `most_tokens` tokens, or a single row.
    """
    found: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        rows = len(found[-1]) + 1 if found else 0
        fits = (most_rows is None or rows <= most_rows) and (most_tokens is None or rows * lengths[row] <= most_tokens)
        if found and fits:
            found[-1].append(row)
        else:
            found.append([row])
    return found


def by_prompt(prompt_ids: Sequence[Ids], response_ids: Sequence[Ids], most_rows: int) -> list[list[int]]:
    """Row numbers in batches of at most `most_rows`, with rows of one prompt and rows of similar length together."""
    runs: list[list[int]] = []
    for row, prompt in enumerate(prompt_ids):
        same = runs and len(runs[-1]) < most_rows and row and list(prompt_ids[row - 1]) == list(prompt)
        if same:
            runs[-1].append(row)
        else:
            runs.append([row])
    runs.sort(key=lambda run: (max(len(prompt_ids[row]) + len(response_ids[row]) for row in run), run))
    found: list[list[int]] = []
    for run in runs:
        if found and len(found[-1]) + len(run) <= most_rows:
            found[-1].extend(run)
        else:
            found.append(run)
    return found
