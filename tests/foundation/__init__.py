"""Tests of what everything may import."""
