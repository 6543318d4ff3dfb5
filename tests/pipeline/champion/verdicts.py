"""A decided verdict on a round's policy, as if people had answered."""

from typing import Any

from foundation.files import write_json
from pipeline.champion.history import current
from pipeline.runs.folder import Run

GENEROUS = ["promotion.kl=1000", "promotion.length=[0, 1000]", "promotion.likelihood=100", "promotion.format=1"]
"""Limits that the policy of a tiny model keeps to."""


def decide(run: Run, outcome: str = "better", **changes: Any) -> None:
    """Write the round's verdict.json: its policy against the present champion."""
    policy, champion = run.record("policy"), current(run)
    assert policy is not None
    verdict: dict[str, Any] = {
        "candidate": {"round": run.round, "adapter": f"{run.folder.name}/policy", "sha256": policy.output_sha256},
        "champion": {"name": champion.name, "sha256": champion.sha256},
        "outcome": outcome, "by": "people", "judgements": 47, "prompts": 47, "wins": 30, "ties": 5, "both_bad": 2,
        "losses": 10, "win_rate": 0.7, "interval": [0.56, 0.81], "e_value": 31.0, "alpha": 0.05, "expected_more": None,
        "late": 0, "by_annotator": [], "by_length": [], "length_controlled": None, "agreement": None, "judges": {},
        "campaign": "verdict",
    }  # fmt: skip
    write_json(run.folder / "verdict.json", verdict | changes)
