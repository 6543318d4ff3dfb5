"""The admin page: its controls, its figures, and the keeping of figures that take long.

Not here: how the figures are computed (`quality/`), and the HTML (`static/`).
"""
