"""What a campaign decides by itself while people work: how many annotators a task needs, and who may answer it."""
