"""Tests of what other programs read of a model."""
