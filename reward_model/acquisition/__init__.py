"""Which responses to ask people about: a head that is refitted in a moment, and choosers that look at it."""
