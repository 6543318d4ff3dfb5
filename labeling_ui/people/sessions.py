"""Sessions: signed cookies with the person's id and session version, which the server looks up for each request.

A session ends after `SESSION_DAYS` in which it was not used: a cookie older than a day is given anew. Signing out,
another password, disabling and forgetting change the version, which ends a session at once, wherever its cookie was
copied to. Left out on purpose: what a session allows (`web/access_control.py`), and the secret that signs
(`signing_secret.py`).
"""

import secrets
import time
from typing import NamedTuple

from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.requests import HTTPConnection
from starlette.responses import Response

from labeling_ui.people.lockout import Device

SESSION_DAYS = 14
RENEWED_AFTER = 24 * 3600.0
"""Seconds."""
DEVICE_DAYS = 365


class Session(NamedTuple):
    """What a cookie says: the person, the version of their sessions, and its age in seconds."""

    annotator_id: str
    version: int
    age: float


class Sessions:
    """Signed cookies for the app under `root_path` of its host: beside it, other apps may have sessions."""

    def __init__(self, secret: str, root_path: str = "") -> None:
        self._seal = URLSafeTimedSerializer(secret, salt="session")
        self._devices = URLSafeTimedSerializer(secret, salt="device")
        self._path = root_path or "/"

    def start(self, connection: HTTPConnection, response: Response, annotator_id: str, version: int) -> None:
        """Let `response` begin a session, in the place of any other; over TLS, no other host can set or read it."""
        secure = connection.url.scheme == "https"
        response.set_cookie(
            self._cookie_name(connection),
            self._seal.dumps([annotator_id, version]),
            max_age=SESSION_DAYS * 24 * 3600,
            path=self._path,
            secure=secure,
            httponly=True,
            samesite="lax",
        )

    def end(self, connection: HTTPConnection, response: Response) -> None:
        """Let `response` take the cookie away."""
        secure = connection.url.scheme == "https"
        response.delete_cookie(
            self._cookie_name(connection), path=self._path, secure=secure, httponly=True, samesite="lax"
        )

    def read(self, connection: HTTPConnection) -> Session | None:
        """What a cookie says that this server signed within the last `SESSION_DAYS`."""
        try:
            cookie = connection.cookies.get(self._cookie_name(connection), "")
            (annotator_id, version), signed = self._seal.loads(
                cookie, max_age=SESSION_DAYS * 24 * 3600, return_timestamp=True
            )
            return Session(str(annotator_id), int(version), time.time() - signed.timestamp())
        except (BadSignature, ValueError, TypeError):
            return None

    def renewal(self, connection: HTTPConnection, session: Session) -> str | None:
        """The header that gives a session of more than a day a new cookie; None while that is not needed."""
        if session.age < RENEWED_AFTER:
            return None
        response = Response()
        self.start(connection, response, session.annotator_id, session.version)
        return response.headers["set-cookie"]

    def remember_device(self, connection: HTTPConnection, response: Response, annotator_id: str) -> None:
        """Let the browser show later that this person has signed in with it; that alone lets nobody in."""
        response.set_cookie(
            self._cookie_name(connection, "device"),
            self._devices.dumps([annotator_id, secrets.token_hex(16)]),
            max_age=DEVICE_DAYS * 24 * 3600,
            path=self._path,
            secure=connection.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )

    def device(self, connection: HTTPConnection) -> Device | None:
        """Whose browser this is, by its signed cookie."""
        try:
            cookie = connection.cookies.get(self._cookie_name(connection, "device"), "")
            annotator_id, key = self._devices.loads(cookie, max_age=DEVICE_DAYS * 24 * 3600)
            return Device(str(annotator_id), str(key))
        except (BadSignature, ValueError, TypeError):
            return None

    def _cookie_name(self, connection: HTTPConnection, of: str = "session") -> str:
        # Browsers take either prefix over TLS only, and __Host- from no other host, but for the root of a host only.
        if connection.url.scheme != "https":
            return f"rlhf_{of}"
        return f"__Host-rlhf_{of}" if self._path == "/" else f"__Secure-rlhf_{of}"
