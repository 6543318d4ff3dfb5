"""What is wrong with the proxy in front, from the headers of a request that was refused, and the line that mends it.

Nothing here lets anybody in: the headers are only told back to whoever sent them, and to the log. Left out on purpose:
believing a proxy, which uvicorn does for the addresses in FORWARDED_ALLOW_IPS.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

_LONGEST = 100
ELSEWHERE = "Refused: the request comes from another site."


def foreign(connection: HTTPConnection) -> str | None:
    """Why a request that changes something is not from a page of this server; None if it is.

    Browsers name the origin of every POST; what names none is no browser, and has no cookie to abuse.
    """
    headers, scheme = connection.headers, connection.scope["scheme"]
    origin = headers.get("origin")
    if origin is None:
        return None if headers.get("sec-fetch-site", "none") in ("same-origin", "none") else ELSEWHERE
    parts = urlsplit(origin)
    if parts.netloc != headers.get("host"):
        return _other_host(headers, origin) if parts.netloc else ELSEWHERE
    if parts.scheme == "https" and scheme == "http":
        return _unseen_tls(connection, origin)
    return None


def _other_host(headers: Headers, origin: str) -> str:
    return (
        f"{ELSEWHERE} The browser shows {_short(origin)}, and the server was asked for the host "
        f'"{_short(headers.get("host", ""))}". If the first is the address of this app, the proxy in front of it '
        "changes the Host header. It has to pass it on: nginx by `proxy_set_header Host $http_host;`, Caddy does so "
        "unless `header_up Host` says otherwise."
    )


def _unseen_tls(connection: HTTPConnection, origin: str) -> str:
    said = connection.headers.get("x-forwarded-proto")
    begin = f"Refused: the browser shows {_short(origin)}, and the server was asked without TLS."
    if said == "https":
        peer = connection.client.host if connection.client else "the proxy's address"
        return (
            f"{begin} A proxy at {_short(peer)} says that it has TLS, and is not believed. If it is yours, start the "
            f"server with `FORWARDED_ALLOW_IPS={_short(peer)}` in its environment."
        )
    return (
        f"{begin} The proxy has to say that it has TLS: nginx by `proxy_set_header X-Forwarded-Proto $scheme;`, Caddy "
        "does so by itself."
    )


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
