"""Publishing an export as a dataset on the Hugging Face hub."""

from collections.abc import Sequence

from foundation.errors import UserError
from foundation.files import Row


def push_to_hub(rows: Sequence[Row], name: str, *, private: bool = True) -> int:
    """Publish the rows as a dataset on the Hugging Face hub; private unless said otherwise. Returns how many."""
    from datasets import Dataset

    if not rows:
        raise UserError(f"there are no rows of this kind: nothing was pushed to {name}.")
    try:
        Dataset.from_list(list(rows)).push_to_hub(name, private=private)
        return len(rows)
    except (OSError, ValueError) as error:  # what the hub's client raises derives from these
        raise UserError(
            f"could not push to {name}: {str(error).strip() or type(error).__name__}\nNeeded are a name such as "
            "someone/dataset, a network, and a token that may write: `hf auth login`, or HF_TOKEN in the environment."
        ) from error
