"""The training log in a policy's folder, `log.jsonl`: its name, and which of its figures depend on the machine."""

LOG = "log.jsonl"
"""The training log in a policy's folder: one row per step."""

MACHINE_METRICS = ("seconds_", "tokens_per_second", "peak_memory")
"""How the names of those figures begin in which two equal runs may differ."""
