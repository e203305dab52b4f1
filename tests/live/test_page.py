"""The page is whole by itself, and the browser is told to load nothing else."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from html.parser import HTMLParser

from testbed.live.page import content_security_policy, page


class Reader(HTMLParser):
    """Collects tags, and what scripts and styles hold."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": []}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.tags.append((f"/{tag}", {}))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in self.inside:
            self.inside[self.tags[-1][0]].append(data)


def read() -> Reader:
    reader = Reader()
    reader.feed(page().decode())
    return reader


def test_nothing_comes_from_outside() -> None:
    links = [
        value
        for _, attributes in read().tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data")
    ]
    assert sorted(links, key=str) == ["/received.mjpg", "/source.mjpg", "data:,"]
    text = page().decode()
    for way_out in ("://", "@import", "url(", "import(", "fetch(", "XMLHttpRequest", "WebSocket"):
        assert way_out not in text


def test_no_handlers_nor_styles_in_attributes() -> None:
    """The policy would block them, silently."""
    for tag, attributes in read().tags:
        for name in attributes:
            assert not name.startswith("on"), (tag, name)
            assert name != "style", tag


def test_the_policy_allows_this_very_script_and_style() -> None:
    reader, policy = read(), content_security_policy()
    for directive, tag in (("script-src", "script"), ("style-src", "style")):
        content = "".join(reader.inside[tag])
        assert len(content) > 1000
        digest = b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy


def test_pictures_and_curves_have_words() -> None:
    for tag, attributes in read().tags:
        if tag == "img":
            assert attributes["alt"]
        if tag == "canvas":
            assert attributes["role"] == "img"
            assert attributes["aria-label"]
        if tag == "html":
            assert attributes["lang"] == "en"
