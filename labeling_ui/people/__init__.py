"""Who labels, and who may: accounts, passwords, invitations, sessions, lockouts, and forgetting a person.

Not here: the pages and the access control of the web server (`web/`).
"""
