"""The stages in order, with their configuration, run folders, command line and report.

Read `stages.py` first. The other packages never import this one.
"""
