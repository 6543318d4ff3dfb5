"""The addresses at which a server can be reached, for people to open: a host to listen on may be no place to go to."""

import socket

LOOPBACK = "127.0.0.1"
_EVERYWHERE = {"": LOOPBACK, "0.0.0.0": LOOPBACK, "::": "::1"}  # to listen on, with where that is reached from here
_SOMEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}  # for examples: nobody has these addresses


def address_here(host: str, port: int, root_path: str = "") -> str:
    """Where a browser on this machine reaches a server that listens on `host`; `port` is the real one."""
    host = _EVERYWHERE.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{root_path}"


def address_elsewhere(host: str, port: int, root_path: str = "") -> str | None:
    """Where other machines reach it, if it listens on all addresses of this one and has another than its own.

    That is the one by which this machine leaves for a network; a proxy or a router may give it another.
    """
    if host not in _EVERYWHERE:
        return None
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as route:
            route.connect((_SOMEWHERE[family], 9))  # looks up the route, and sends nothing
            own = str(route.getsockname()[0])
    except OSError:
        return None
    return None if is_loopback(own) else address_here(own, port, root_path)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`, as far as its name says."""
    return host in ("localhost", "::1") or host.startswith("127.")
