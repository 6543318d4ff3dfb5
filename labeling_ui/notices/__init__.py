"""Telling whoever leads when a campaign is done, stalls, or agreement in it falls."""
