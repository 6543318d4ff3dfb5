"""The evaluate stage: the policy against the base on held-out prompts, compared blind, with intervals."""
