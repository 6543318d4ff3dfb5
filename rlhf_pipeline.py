"""The name of the former package. Using it fails with one line that says what replaced it."""

import sys

_REPLACED = (
    "rlhf_pipeline is now the packages pipeline, labeling_ui, reward_model, policy, backbone and foundation: "
    "run `rlhf` or `python -m pipeline` instead of `python -m rlhf_pipeline`."
)

if __name__ != "__main__":
    raise ImportError(_REPLACED)
print(_REPLACED, file=sys.stderr)
sys.exit(2)
