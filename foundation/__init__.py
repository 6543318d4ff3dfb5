"""What every package may import: errors, files, settings, scripts, and the version."""

__version__ = "0.1.0"
