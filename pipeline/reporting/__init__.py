"""What a run shows afterwards: its figures, report.html and summary.json."""
