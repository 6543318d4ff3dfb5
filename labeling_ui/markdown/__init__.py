"""What people and models wrote, rendered for readers: Markdown, code and formulas, sanitised."""
