"""The one page of the live view, put together from its three parts and checked by their hashes."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from functools import cache
from importlib.resources import files


def _part(name: str) -> str:
    return (files(__name__) / name).read_text(encoding="utf-8")


@cache
def page() -> bytes:
    """The page: HTML with its style and its script inside, and nothing from outside."""
    html = _part("page.html")
    for mark, name in (("/*style*/", "page.css"), ("/*script*/", "page.js")):
        html = html.replace(mark, _part(name))
    return html.encode()


@cache
def content_security_policy() -> str:
    """What the browser may load: our pictures and numbers, and these very style and script."""
    style, script = (
        b64encode(hashlib.sha256(_part(name).encode()).digest()).decode()
        for name in ("page.css", "page.js")
    )
    return (
        "default-src 'none'; img-src 'self' data:; connect-src 'self'; "
        f"style-src 'sha256-{style}'; script-src 'sha256-{script}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
