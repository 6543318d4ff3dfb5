"""One file for each kind of programmatic reward. The names under which YAML knows them are in `registry.py`."""
