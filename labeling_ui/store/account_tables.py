"""The tables of accounts: who there is, is invited, has keys or failed to sign in, and what the server signs with."""

import sqlalchemy as sa

metadata = sa.MetaData()

annotators = sa.Table(
    "annotators",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("simulated", sa.Boolean, nullable=False),
    sa.Column("role", sa.Text, nullable=False, server_default="annotator"),
    sa.Column("password_hash", sa.Text),
    sa.Column("email", sa.Text, unique=True),
    sa.Column("session_version", sa.Integer, nullable=False, server_default="1"),
    sa.Column("disabled", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("created_at", sa.Text, nullable=False),
)

invitations = sa.Table(
    "invitations",
    metadata,
    sa.Column("token_hash", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("name", sa.Text),
    sa.Column("expires_at", sa.Double, nullable=False),  # this and the next: seconds since 1970
    sa.Column("used_at", sa.Double),
)

api_keys = sa.Table(  # with which programs ask in a person's name
    "api_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("key_hash", sa.Text, nullable=False, unique=True),
    sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), nullable=False),
    sa.Column("created_at", sa.Text, nullable=False),
)

sign_in_attempts = sa.Table(
    "sign_in_attempts",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("locked_until", sa.Double, nullable=False),  # seconds since 1970
)

server_secrets = sa.Table(
    "server_secrets",
    metadata,
    sa.Column("purpose", sa.Text, primary_key=True),
    sa.Column("secret", sa.Text, nullable=False),
)

security_events = sa.Table(
    "security_events",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("created_at", sa.Text, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("person_id", sa.Text),  # this and the next: an annotator's id
    sa.Column("subject_id", sa.Text),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Index("security_events_by_time", "created_at"),
    sqlite_autoincrement=True,
)

marked_texts = sa.Table(  # that may name somebody who was forgotten
    "marked_texts",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),  # reason, rationale, rewrite, prompt or response
    sa.Column("id", sa.Text, primary_key=True),  # of the event, the prompt or the candidate
)
