"""The verdict: people compare a round's policy blind with the champion, until the evidence decides."""
