"""Numbered Alembic migrations of the label store, shipped as package data and run when a store is opened."""
