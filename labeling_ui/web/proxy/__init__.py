"""Behind a proxy: the app under a sub-path, and what a proxy that is set up wrongly is told."""
