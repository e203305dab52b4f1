"""The live view's web server: one page, its numbers and its pictures, on this machine only.

It binds to 127.0.0.1, answers GET on four paths, and wants its own address in the Host header, so
that a page from elsewhere cannot reach it under a name of its own (DNS rebinding). Nothing that it
serves can be embedded in, or read by, pages of other origins.

A client costs a thread. There is room for `MAX_CLIENTS`; further ones are told to come back. A
client that does not read is cut off after `SEND_TIMEOUT_S`; the session never waits for one.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from testbed.errors import InputError, OutputError
from testbed.live.feed import Feed, Shown
from testbed.live.page import content_security_policy, page
from testbed.live.pictures import encode_jpeg

HOST: Final = "127.0.0.1"
#: Names that a browser on this machine may call us by.
LOOPBACK_NAMES: Final = ("127.0.0.1", "localhost")
#: Connections at a time: a browser's tab has three (numbers and two streams of pictures).
MAX_CLIENTS: Final = 24
#: A request must have come, and what is sent be taken, within this time.
SEND_TIMEOUT_S: Final = 5.0
#: How often a reader looks up while there is nothing new: what a closed connection costs at most.
BEAT_S: Final = 1.0
_BOUNDARY: Final = "picture"
#: For a client for which there is no room; sent without a thread of its own.
_BUSY: Final = (
    b"HTTP/1.0 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 5\r\n"
    b"Connection: close\r\n\r\nToo many windows are open on this session.\n"
)
_HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class LiveServer:
    """Serves one feed until it is closed; use as a context manager.

    Args:
        feed: what to show.
        port: 0 takes any that is free.

    Raises:
        OutputError: the port is taken.
        InputError: an impossible port, or an address that is not this machine's own.
    """

    def __init__(self, feed: Feed, *, port: int = 0, host: str = HOST) -> None:
        if host != HOST:
            raise InputError(f"host {host}: the live view is served on {HOST} only")
        if not 0 <= port <= 65535:
            raise InputError(f"port {port} is not within 0..65535")
        try:
            self._http = _Http(feed, port)
        except OSError as error:
            raise OutputError(f"port {port}: cannot be used ({error.strerror})") from None
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, name="live-accept"
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        """Where a browser finds the page."""
        return f"http://{HOST}:{self.port}/"

    def close(self) -> None:
        """Cut all clients off and stop; takes well under a second."""
        self._http.closing.set()
        self._http.feed.release()
        self._http.shutdown()
        self._thread.join()
        self._http.cut_off()
        self._http.server_close()

    def __enter__(self) -> LiveServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Http(ThreadingHTTPServer):
    """The standard library's server, with a bound on clients and a list of their connections."""

    daemon_threads = False  # `server_close` waits for them
    block_on_close = True
    request_queue_size = 32

    def __init__(self, feed: Feed, port: int) -> None:
        self.feed = feed
        self.closing = threading.Event()
        self.jpegs = {"source": _Jpegs(feed), "received": _Jpegs(feed)}
        self._clients: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__((HOST, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for the client, if there is room."""
        with self._lock:
            room = len(self._clients) < MAX_CLIENTS
            if room:
                self._clients.add(request)
        if room:
            super().process_request(request, client_address)
            return
        try:
            request.settimeout(0)  # nothing waits for it: these bytes fit into the socket's buffer
            request.sendall(_BUSY)
            request.recv(65536)  # what is left unread would reset the connection
        except OSError:
            pass
        super().shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """The client is done with, or goes away."""
        with self._lock:
            self._clients.discard(request)
        super().shutdown_request(request)

    def cut_off(self) -> None:
        """End every connection; their threads notice at once."""
        with self._lock:
            for client in self._clients:
                try:
                    client.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # the other side was quicker

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients come and go: a broken connection is nothing to report.

        Anything else is our own mistake, and must be seen.
        """
        import sys

        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Jpegs:
    """One screen's latest picture as JPEG, encoded once for all clients and while it stands still.

    Args:
        feed: where pictures come from.
    """

    def __init__(self, feed: Feed) -> None:
        self._size = (feed.heading.width, feed.heading.height)
        self._lock = threading.Lock()
        self._picture: object = None
        self._jpeg = b""

    def of(self, picture: Any) -> bytes:
        """`picture` as JPEG."""
        if isinstance(picture, bytes):
            return picture
        with self._lock:
            if picture is not self._picture:
                self._jpeg = encode_jpeg(picture, *self._size)
                self._picture = picture
            return self._jpeg


class _Handler(BaseHTTPRequestHandler):
    """One request; HTTP/1.0, so that a connection carries one answer."""

    server: _Http
    timeout = SEND_TIMEOUT_S
    server_version = "testbed-live"
    sys_version = ""

    def parse_request(self) -> bool:
        """Refuse what is not a plain GET to our own name before anything else looks at it."""
        if not super().parse_request():
            return False
        if self.command != "GET":
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET"})
            return False
        if not self._is_ours(self.headers.get_all("Host") or []):
            self._refuse(HTTPStatus.FORBIDDEN)
            return False
        return True

    def _is_ours(self, hosts: list[str]) -> bool:
        port = self.server.server_address[1]
        return len(hosts) == 1 and hosts[0].lower() in {f"{n}:{port}" for n in LOOPBACK_NAMES}

    def do_GET(self) -> None:
        """The page, its numbers, or one of its two streams of pictures."""
        answer = self._paths.get(self.path)
        if answer is None:
            self._refuse(HTTPStatus.NOT_FOUND)
        else:
            answer()

    @cached_property
    def _paths(self) -> Mapping[str, Callable[[], None]]:
        return {
            "/": self._page,
            "/events": self._events,
            "/source.mjpg": lambda: self._stream("source"),
            "/received.mjpg": lambda: self._stream("received"),
        }

    def _refuse(self, status: HTTPStatus, headers: Mapping[str, str] | None = None) -> None:
        body = f"{status.value} {status.phrase}\n".encode()
        self._head(status, "text/plain; charset=utf-8", {"Content-Length": str(len(body))}, headers)
        self.wfile.write(body)

    def _head(self, status: HTTPStatus, kind: str, *more: Mapping[str, str] | None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for headers in (_HEADERS, *more):
            for name, value in (headers or {}).items():
                self.send_header(name, value)
        self.end_headers()

    def _page(self) -> None:
        body = page()
        self._head(
            HTTPStatus.OK,
            "text/html; charset=utf-8",
            {
                "Content-Length": str(len(body)),
                "Content-Security-Policy": content_security_policy(),
            },
        )
        self.wfile.write(body)

    def _events(self) -> None:
        """Heading, all samples that are kept, then each as it comes, and at last the end."""
        feed = self.server.feed
        self._head(HTTPStatus.OK, "text/event-stream; charset=utf-8")
        self._event("heading", asdict(feed.heading))
        serial = 0
        while not self.server.closing.is_set():
            status = feed.status  # before the samples: what came before the end is not missed
            samples, serial = feed.samples_after(serial, timeout_s=BEAT_S)
            if samples:
                self._event("samples", [asdict(sample) for sample in samples])
                self._numbers(feed.latest())
            elif status.over:
                self._event("end", {"state": status.state.value, "reason": status.reason})
                return
            else:
                self.wfile.write(b": still here\n\n")

    def _numbers(self, shown: Shown | None) -> None:
        """Which frames the screens show."""
        if shown is not None:
            names = ("slot", "source_frame", "received_frame", "due_frame")
            self._event("shown", {name: getattr(shown, name) for name in names})

    def _event(self, name: str, value: Any) -> None:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
        self.wfile.write(f"event: {name}\ndata: {text}\n\n".encode())

    def _stream(self, screen: str) -> None:
        """Pictures as they come, each in the place of the last one (multipart/x-mixed-replace).

        The boundary follows each picture at once: browsers show one when it has ended.
        """
        feed, jpegs = self.server.feed, self.server.jpegs[screen]
        self._head(HTTPStatus.OK, f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        self.wfile.write(f"--{_BOUNDARY}\r\n".encode())
        serial, jpeg = 0, b""
        while not self.server.closing.is_set():
            status = feed.status
            shown, serial = feed.shown_after(serial, timeout_s=BEAT_S)
            if shown is not None:
                jpeg = jpegs.of(_screen(shown, screen))
            elif status.over:
                return
            if jpeg:  # again after a beat without news, which tells whether anybody looks
                self._part(jpeg)

    def _part(self, jpeg: bytes) -> None:
        head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        self.wfile.write(head.encode() + jpeg + f"\r\n--{_BOUNDARY}\r\n".encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """No log: the terminal is the session's."""


def _screen(shown: Shown, screen: str) -> Any:
    return shown.source if screen == "source" else shown.received
