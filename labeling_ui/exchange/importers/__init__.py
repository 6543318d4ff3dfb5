"""How other people's files of judgements are laid out: one module a format, and all formats by name in `registry.py`.

Nothing is stored here; `exchange/imports.py` does that.
"""
