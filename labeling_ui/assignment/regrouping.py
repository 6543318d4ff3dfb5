"""Which of a prompt's responses are asked about together when a campaign changes its kind."""

import math
from collections.abc import Iterable

from labeling_ui.campaign import Campaign


def regrouped(candidates: Iterable[str], campaign: Campaign) -> list[tuple[str, ...]]:
    """The tasks of the new kind about all these responses to one prompt, by id.

    Rated, each is a task. Ranked, they come in as few sets of equal size as hold every one of them, which share
    responses if they do not divide evenly. Compared, each of three or more comes in two pairs. The ids are hashes, so
    that their order is a random one, and always the same.
    """
    ids = sorted(set(candidates))
    if campaign.kind == "rating":
        return [(one,) for one in ids]
    if len(ids) < 2:
        return []
    if campaign.kind == "pairwise":
        return list(zip(ids, ids[1:] + ids[:1], strict=True)) if len(ids) > 2 else [(ids[0], ids[1])]
    size = min(campaign.responses, len(ids))
    last = len(ids) - size
    return [tuple(ids[min(size * turn, last) :][:size]) for turn in range(math.ceil(len(ids) / size))]
