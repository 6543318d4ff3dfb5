"""From human judgements to a LoRA adapter that people prefer."""

__version__ = "0.1.0"
