"""Sequences of similar length in one batch, so that little is padding.

Batches of several responses to one prompt, which is computed once for all of them, are in `cpu/shared_prompts.py`.
"""

from collections.abc import Sequence


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
