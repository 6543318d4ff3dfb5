"""On which side of a prompts file's split each conversation is, where the file does not say."""

from collections.abc import Iterable, Mapping

from foundation.files import content_id


def held_out_or_not(keys: Iterable[str], said: Mapping[str, bool], share: float) -> dict[str, bool]:
    """Whether each conversation is held out, by its key: as `said`, else by a hash, about this share of them.

    If that would leave a side empty, the one nearest to the threshold, of those that nothing is said of, changes sides.
    """
    places = {key: int(content_id("split", key), 16) / 16**16 for key in keys if key not in said}
    free = sorted(places, key=lambda key: places[key])
    found = {**said, **{key: places[key] < share for key in free}}
    if free and len(found) > 1 and len(set(found.values())) == 1:
        everything = found[free[0]]
        found[free[-1] if everything else free[0]] = not everything
    return found
