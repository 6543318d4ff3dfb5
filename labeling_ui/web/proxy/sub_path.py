"""What may be a sub-path of the app. Imports next to nothing: configuration is checked with it."""

import re

_SHAPE = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){1,8}")
_OWN = (
    "account", "admin", "api", "assets", "config", "export", "gradio_api", "invitation", "page", "sign-in",
    "sign-out", "static", "theme.css",
)  # fmt: skip


def valid_sub_path(text: str) -> str:
    """The sub-path with a slash before it and none behind, empty for the root; `ValueError` if it cannot be one."""
    stripped = text.strip().strip("/")
    path = f"/{stripped}" if stripped else ""
    if path and not _SHAPE.fullmatch(path):
        raise ValueError("give a path as in /labels, of letters, digits and . _ ~ -, without the host")
    if path and path.split("/")[1] in _OWN:  # a proxy may strip it: it must not be taken for a page
        raise ValueError("a page of the app itself begins like that; choose another path, /labels say")
    return path
