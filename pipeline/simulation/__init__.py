"""Simulated annotators, to try the loop without people, and the preference that they follow."""
