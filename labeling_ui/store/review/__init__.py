"""For whoever leads a campaign: finding tasks, deciding them, pausing and removing them, and what each person did."""
