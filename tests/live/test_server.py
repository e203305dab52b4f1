"""The server, over real sockets: who is let in, what they get, and how it ends."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from io import BytesIO
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from viewing import sample, shown

from testbed.errors import InputError, OutputError
from testbed.live import server as module
from testbed.live.feed import Feed
from testbed.live.page import page
from testbed.live.server import MAX_CLIENTS, LiveServer


@contextmanager
def request(
    server: LiveServer, path: str, *, method: str = "GET", host: str | None = None
) -> Iterator[HTTPResponse]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    if host != "":
        connection.putheader("Host", host or f"127.0.0.1:{server.port}")
    connection.endheaders()
    response = connection.getresponse()
    try:
        yield response
    finally:
        response.close()
        connection.close()


def events(response: HTTPResponse) -> Iterator[tuple[str, Any]]:
    """Server-sent events as (name, data), by the rules of the HTML standard."""
    name, data = "", ""
    for raw in response:
        line = raw.decode().rstrip("\n")
        field, _, value = line.partition(":")
        if not line:
            if data:
                yield name, json.loads(data)
            name, data = "", ""
        elif field == "event":
            name = value.strip()
        elif field == "data":
            data += value.strip()


def pictures(response: HTTPResponse) -> Iterator[bytes]:
    """The parts of a multipart answer, by RFC 2046 and their length."""
    boundary = response.headers.get_param("boundary")
    assert isinstance(boundary, str)
    while (line := response.readline()).strip() == f"--{boundary}".encode():
        headers = {}
        while (line := response.readline()).strip():
            key, _, value = line.decode().partition(":")
            headers[key.lower()] = value.strip()
        if not headers:
            return  # the boundary after the last picture
        assert headers["content-type"] == "image/jpeg"
        yield response.read(int(headers["content-length"]))
        assert response.readline() == b"\r\n"


# --- who is let in ------------------------------------------------------------------------------


def test_the_page(server: LiveServer) -> None:
    assert server.url == f"http://127.0.0.1:{server.port}/"
    with request(server, "/") as response:
        assert response.status == 200
        assert response.read() == page()
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", "127.0.0.1"])
def test_our_own_names(server: LiveServer, name: str) -> None:
    with request(server, "/", host=f"{name}:{server.port}") as response:
        assert response.status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:PORT", "127.0.0.1.evil.example:PORT", "127.0.0.1",
             "localhost:1", "[::1]:PORT", "192.0.2.1:PORT", ""],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/events", "/source.mjpg"])
def test_other_hosts_are_refused(server: LiveServer, host: str, path: str) -> None:
    with request(server, path, host=host.replace("PORT", str(server.port))) as response:
        assert response.status == 403
        assert b"<" not in response.read()


def test_two_hosts_are_refused(server: LiveServer) -> None:
    own = f"Host: 127.0.0.1:{server.port}\r\n"
    answer = raw(server, f"GET / HTTP/1.0\r\n{own}Host: evil.example\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.0 403 ")


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PROPFIND"])
def test_other_methods_are_refused(server: LiveServer, method: str) -> None:
    with request(server, "/", method=method) as response:
        assert response.status == 405
        assert response.headers["Allow"] == "GET"


@pytest.mark.parametrize("path", ["/index.html", "/../etc/passwd", "//etc", "/?x", "/%2e%2e/", "*"])
def test_other_paths_are_not_there(server: LiveServer, path: str) -> None:
    with request(server, path) as response:
        assert response.status == 404


def raw(server: LiveServer, data: bytes) -> bytes:
    """Whatever comes back for these bytes, until the connection ends."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while part := client.recv(65536):
            answer += part
        return answer


@given(st.binary(max_size=300))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_answered_or_dropped(server: LiveServer, data: bytes) -> None:
    answer = raw(server, data)
    assert b" 200 " not in answer[:20]
    with request(server, "/") as response:  # and it goes on
        assert response.status == 200


def test_only_this_machine_can_be_served(feed: Feed) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "localhost"):
        with pytest.raises(InputError, match=r"on 127\.0\.0\.1 only"):
            LiveServer(feed, host=host)
    with LiveServer(feed) as server:
        assert server._http.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("port", [-1, 65536])
def test_impossible_ports(feed: Feed, port: int) -> None:
    with pytest.raises(InputError, match=r"not within 0\.\.65535"):
        LiveServer(feed, port=port)


def test_a_port_that_is_taken(feed: Feed) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OutputError, match="cannot be used"):
            LiveServer(feed, port=taken.getsockname()[1])


# --- what they get ------------------------------------------------------------------------------


def test_numbers_from_the_beginning_to_the_end(server: LiveServer, feed: Feed) -> None:
    feed.sample(sample(1))
    feed.sample(sample(2, capacity_kbps=None))
    feed.show(shown(3))
    with request(server, "/events") as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        stream = events(response)
        name, heading = next(stream)
        assert name == "heading"
        assert (heading["transport"], heading["width"]) == ("h264", 32)
        name, samples = next(stream)
        assert [s["time_ns"] for s in samples] == [100_000_000, 200_000_000]
        assert [s["capacity_kbps"] for s in samples] == [500.0, None]
        assert next(stream) == (
            "shown",
            {"slot": 3, "source_frame": 3, "received_frame": 2, "due_frame": 2},
        )
        feed.sample(sample(3))
        assert next(stream)[1][0]["time_ns"] == 300_000_000
        next(stream)
        feed.sample(sample(4))
        feed.fail("no more <b>power</b>")
        rest = list(stream)
    assert [name for name, _ in rest] == ["samples", "shown", "end"]  # and the stream ends
    assert rest[-1][1] == {"state": "failed", "reason": "no more <b>power</b>"}


@pytest.mark.parametrize(("path", "luma"), [("/source.mjpg", 100), ("/received.mjpg", 60)])
def test_each_screen_has_its_stream(server: LiveServer, feed: Feed, path: str, luma: int) -> None:
    feed.show(shown(0))
    with request(server, path) as response:
        assert response.headers.get_content_type() == "multipart/x-mixed-replace"
        parts = pictures(response)
        image = Image.open(BytesIO(next(parts)))
        assert image.size == (32, 16)
        # BT.601's stretch of the range by 255/219 from 16.
        assert abs(image.convert("L").getpixel((9, 9)) - (luma - 16) * 255 / 219) < 2
        feed.show(shown(1, luma=200))
        brighter = Image.open(BytesIO(next(parts))).convert("L")
        assert abs(brighter.getpixel((9, 9)) - (luma + 84) * 255 / 219) < 2
        feed.finish()
        list(parts)  # ends


def test_jpeg_bytes_go_through_as_they_are(server: LiveServer, feed: Feed) -> None:
    from dataclasses import replace

    feed.show(replace(shown(0), source=b"\xff\xd8 a picture \xff\xd9"))
    with request(server, "/source.mjpg") as response:
        assert next(pictures(response)) == b"\xff\xd8 a picture \xff\xd9"


def test_a_picture_is_encoded_once_for_all(
    server: LiveServer, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = []

    def counting(picture: Any, width: int, height: int) -> bytes:
        encoded.append(picture)
        return b"jpeg"

    monkeypatch.setattr(module, "encode_jpeg", counting)
    frozen = shown(0)
    feed.show(frozen)
    for _ in range(3):
        with request(server, "/received.mjpg") as response:
            assert next(pictures(response)) == b"jpeg"
    assert len(encoded) == 1


def test_who_comes_after_the_end_sees_how_it_ended(server: LiveServer, feed: Feed) -> None:
    feed.sample(sample(1))
    feed.show(shown(5))
    feed.finish()
    with request(server, "/events") as response:
        assert [name for name, _ in events(response)] == ["heading", "samples", "shown", "end"]
    with request(server, "/source.mjpg") as response:
        assert len(list(pictures(response))) == 1


# --- many, and slow ones ------------------------------------------------------------------------


def test_more_clients_than_there_is_room_for(server: LiveServer, feed: Feed) -> None:
    feed.sample(sample(1))
    clients = []
    try:
        for _ in range(MAX_CLIENTS):
            client = HTTPConnection("127.0.0.1", server.port, timeout=20)
            client.request("GET", "/events")
            response = client.getresponse()
            assert response.status == 200
            clients.append((client, response))
        with request(server, "/") as refused:
            assert refused.status == 503
            assert refused.headers["Retry-After"] == "5"
    finally:
        for client, response in clients:
            response.close()
            client.close()


def test_room_comes_back_when_clients_go(
    server: LiveServer, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CLIENTS", 2)
    for _ in range(8):
        with request(server, "/nowhere") as response:
            assert response.status == 404
            response.read()  # to the end: its thread is done
        _until(lambda: not server._http._clients)


def _until(true: Any) -> None:
    """Wait for something that other threads do."""
    pause = threading.Event()
    for _ in range(2000):
        if true():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come true")


def test_who_does_not_read_is_cut_off_and_holds_nobody_up(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module._Handler, "timeout", 0.3)
    with LiveServer(feed) as server, socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.connect(("127.0.0.1", server.port))
        host = f"Host: 127.0.0.1:{server.port}\r\n\r\n"
        lazy.sendall(b"GET /source.mjpg HTTP/1.0\r\n" + host.encode())
        _until(lambda: len(server._http._clients) == 1)
        from dataclasses import replace

        big = bytes(4_000_000)  # more than any socket buffer
        feed.show(replace(shown(0), source=big))
        with request(server, "/events") as response:
            assert next(events(response))[0] == "heading"
        _until(lambda: not server._http._clients)


def test_who_asks_nothing_is_cut_off(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._Handler, "timeout", 0.2)
    with (
        LiveServer(feed) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=20) as silent,
    ):
        assert silent.recv(100) == b""  # the server hangs up


# --- the end ------------------------------------------------------------------------------------


def test_closing_ends_streams_threads_and_sockets(feed: Feed) -> None:
    before = set(threading.enumerate())
    server = LiveServer(feed)
    feed.sample(sample(1))
    feed.show(shown(0))
    clients = []
    for path in ("/events", "/source.mjpg", "/received.mjpg"):
        client = HTTPConnection("127.0.0.1", server.port, timeout=20)
        client.request("GET", path)
        clients.append((client, client.getresponse()))
    idle = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    server.close()
    assert set(threading.enumerate()) == before
    for client, response in clients:
        response.read()  # to its end, which has come
        client.close()
    assert _hung_up(idle)
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


def _hung_up(client: socket.socket) -> bool:
    """Whether the server let go of the connection, in whichever way."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:  # it had not been accepted yet
        return True


def test_the_port_can_be_used_again_at_once(feed: Feed) -> None:
    with LiveServer(feed) as first, request(first, "/") as response:
        response.read()
    with LiveServer(feed, port=first.port) as second:
        assert second.port == first.port
