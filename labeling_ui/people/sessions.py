"""Sessions: signed cookies with the person's id and session version, which the server looks up for each request.

Signing out, another password, disabling and forgetting change the version, which ends a session at once, wherever its
cookie was copied to. Left out on purpose: what a session allows (`web/access_control.py`), and the secret that signs
(`signing_secret.py`).
"""

from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.requests import HTTPConnection
from starlette.responses import Response

SESSION_DAYS = 14


class Sessions:
    """Signed cookies."""

    def __init__(self, secret: str) -> None:
        self._seal = URLSafeTimedSerializer(secret, salt="session")

    def start(self, connection: HTTPConnection, response: Response, annotator_id: str, version: int) -> None:
        """Let `response` begin a session, in the place of any other; over TLS, no other host can set or read it."""
        secure = connection.url.scheme == "https"
        response.set_cookie(
            _cookie_name(connection),
            self._seal.dumps([annotator_id, version]),
            max_age=SESSION_DAYS * 24 * 3600,
            path="/",
            secure=secure,
            httponly=True,
            samesite="lax",
        )

    def end(self, connection: HTTPConnection, response: Response) -> None:
        """Let `response` take the cookie away."""
        secure = connection.url.scheme == "https"
        response.delete_cookie(_cookie_name(connection), path="/", secure=secure, httponly=True, samesite="lax")

    def read(self, connection: HTTPConnection) -> tuple[str, int] | None:
        """Person and session version of a cookie that this server signed within the last `SESSION_DAYS`."""
        try:
            cookie = connection.cookies.get(_cookie_name(connection), "")
            annotator_id, version = self._seal.loads(cookie, max_age=SESSION_DAYS * 24 * 3600)
        except (BadSignature, ValueError, TypeError):
            return None
        return str(annotator_id), int(version)


def _cookie_name(connection: HTTPConnection) -> str:
    # Browsers take a cookie of this name from no other host, and over TLS only.
    return "__Host-rlhf_session" if connection.url.scheme == "https" else "rlhf_session"
