"""`testbed send` and `testbed receive`: the endpoints of a session on their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed.cli.common import Json, one_cell, print_json
from testbed.errors import InputError

if TYPE_CHECKING:
    from testbed.worlds.realtime.udp import Address, UdpPort

#: Where the key is when no file is named.
KEY_VARIABLE = "TESTBED_KEY"
DEFAULT_ADDRESS = "127.0.0.1:5004"
#: The largest port number, and its digits.
_LAST_PORT = 65_535
_LONGEST_PORT = 5

Key = Annotated[
    Path | None,
    typer.Option(
        "--key",
        metavar="FILE",
        help=f"Pre-shared key: a file of 16 bytes or more, best hex. Default: {KEY_VARIABLE}.",
    ),
]


def send(
    scenario: Annotated[
        str, typer.Argument(metavar="SCENARIO", help="Scenario file, or name of a shipped one.")
    ],
    to: Annotated[
        str, typer.Option("--to", metavar="HOST:PORT", help="The receiver.")
    ] = DEFAULT_ADDRESS,
    key: Key = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a value: transports=[morphe]."),
    ] = None,
    bind: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Own address. Default: any.")
    ] = "0.0.0.0:0",
    json: Json = False,
) -> None:
    """Send one session in real time to a `testbed receive`, here or on another machine.

    The scenario must describe exactly one run; its paths do not matter, as the network is the real
    one. Exit code 0: the session ended and the receiver said what it got; 1: it did not; 2: wrong
    input; 130: interrupted.
    """
    from testbed.worlds.realtime.remote import send_session

    psk = _key(key)
    cell = one_cell(scenario, overrides or [], world="simulator")
    peer = _address(to, "--to", least=1)
    summary = _run(
        bind,
        "--bind",
        lambda port: send_session(cell.session, base=cell.base, psk=psk, port=port, peer=peer),
    )
    if json:
        print_json(summary)
        return
    late, got = summary["send_late"], summary["receiver"]
    print(
        f"sent {summary['datagrams']} datagrams, {summary['bytes']} bytes; late by "
        f"{late['p50_ms']:.2f} ms (median), {late['p99_ms']:.2f} ms (99th percentile)"
    )
    print(
        f"the receiver showed {got.get('shown')} of {got.get('frames')} frames and got "
        f"{got.get('datagrams')} datagrams; clocks agree to {summary['clocks']['bound_ms']:.3f} ms"
    )


def receive(
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Own address.")
    ] = DEFAULT_ADDRESS,
    key: Key = None,
    sessions: Annotated[
        int, typer.Option(min=0, metavar="N", help="End after so many sessions; 0: never.")
    ] = 1,
    json: Json = False,
) -> None:
    """Wait for a `testbed send` and receive its session in real time.

    Only senders with the same key are answered. Exit code 0: the sessions ended in order; 1: one
    did not; 2: wrong input; 130: interrupted.
    """
    from testbed.worlds.realtime.remote import receive_session

    psk = _key(key)
    done = 0
    while done < sessions or sessions == 0:
        summary = _run(listen, "--listen", lambda port: receive_session(psk, port))
        done += 1
        if json:
            print_json(summary)
            continue
        delays = summary.get("capture_to_decodable_ms", {"p50": float("nan"), "p95": float("nan")})
        print(
            f"{summary['transport']} from {summary['peer']}: {summary['shown']} of "
            f"{summary['frames']} frames shown ({summary['rendered_fps']:.2f} FPS), capture to "
            f"decodable {delays['p50']:.1f} ms (median), {delays['p95']:.1f} ms (95th percentile)"
        )
        print(
            f"{summary['datagrams']} datagrams; from strangers {summary['strangers']}, "
            f"malformed {summary['malformed']}, control messages ignored "
            f"{sum(summary['ignored_control'].values())}"
        )


def _run(
    bind: str, option: str, session: Callable[[UdpPort], Coroutine[Any, Any, dict[str, Any]]]
) -> dict[str, Any]:
    from testbed.worlds.realtime.clock import new_loop
    from testbed.worlds.realtime.udp import UdpPort, udp_socket

    host, number = _address(bind, option)
    try:
        port = UdpPort(udp_socket(host, number))
    except OSError as error:
        raise InputError(f"{option} {bind}: {error.strerror}") from None
    loop = new_loop()
    try:
        return loop.run_until_complete(_cancellable(session(port)))
    finally:
        loop.close()
        port.close()


async def _cancellable(work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """Turns Ctrl-C into the end of the session, of which the other side is told."""
    import asyncio
    import signal

    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, task.cancel, "interrupted")
    loop.add_signal_handler(signal.SIGTERM, task.cancel, "terminated")
    try:
        return await task
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_signal_handler(signal.SIGTERM)


def _key(path: Path | None) -> bytes:
    from testbed.protocol.session import parse_psk

    if path is None:
        content = os.environb.get(KEY_VARIABLE.encode(), b"")
        if not content:
            raise InputError(f"no key: give --key FILE, or set {KEY_VARIABLE}")
        return parse_psk(content, origin=KEY_VARIABLE)
    try:
        return parse_psk(path.read_bytes(), origin=f"--key {path}")
    except OSError as error:
        raise InputError(f"--key {path}: {error.strerror}") from None


def _address(text: str, option: str, *, least: int = 0) -> Address:
    import socket

    host, separator, number = text.rpartition(":")
    port = int(number) if number.isdecimal() and len(number) <= _LONGEST_PORT else -1
    if not separator or not least <= port <= _LAST_PORT:
        raise InputError(f"{option} {text}: must be HOST:PORT, PORT from {least} to {_LAST_PORT}")
    try:
        found = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not a host name"
        raise InputError(f"{option} {text}: {reason}") from None
    address = found[0][4]
    return str(address[0]), int(address[1])
