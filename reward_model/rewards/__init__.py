"""Programmatic rewards: by name (`registry.py`, where a new one is added), alone or mixed. No learned reward model."""
