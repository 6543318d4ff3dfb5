"""The pages of whoever leads a campaign: the task browser, one task, what each person did."""
