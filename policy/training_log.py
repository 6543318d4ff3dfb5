"""The training log in a policy's folder, the samples beside it, and which figures depend on the machine."""

LOG = "log.jsonl"
"""The training log in a policy's folder: one row per step."""

SAMPLES = "samples.jsonl"
"""The responses that the policy gave at each checkpoint: `samples.py` writes them."""

MACHINE_METRICS = ("seconds_", "tokens_per_second", "peak_memory")
"""How the names of those figures begin in which two equal runs may differ."""
