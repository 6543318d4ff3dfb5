"""The web server and its pages: labeling, admin, signing in. Texts are in `languages/`, HTML, CSS and JS in `static/`.

Not here: the rules and the data behind them (`assignment/`, `store/`, `people/`, `quality/`).
"""
