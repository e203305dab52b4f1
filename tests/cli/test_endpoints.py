"""`testbed send` and `testbed receive` as a user meets them; sessions are in tests/worlds."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.cli.main import run_command

KEY = "00112233445566778899aabbccddeeff" * 2
SCENARIO = """\
name: remote
description: One short session
clips: ["test:testsrc2"]
width: 160
height: 96
fps: 15
duration_s: 1
warmup_s: 0
downlink: {trace: [constant:2000kbps], delay_ms: 10}
uplink: {delay_ms: 10}
transports: [h264]
rate: {control: fixed, kbps: 200}
seeds: [1]
quality: []
"""


@pytest.fixture(autouse=True)
def no_key_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TESTBED_KEY", raising=False)


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    path = tmp_path / "remote.yaml"
    path.write_text(SCENARIO)
    return str(path)


@pytest.fixture
def key(tmp_path: Path) -> str:
    path = tmp_path / "key"
    path.write_text(KEY + "\n")
    return str(path)


@pytest.fixture
def taken() -> Iterator[str]:
    """An address that somebody else listens at."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{made.getsockname()[1]}"


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that wrong input gets."""
    assert run_command(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    return captured.err


@pytest.mark.parametrize(
    "to",
    [
        "nowhere", "5004", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:-1", "127.0.0.1:65536",
        "127.0.0.1:5004 ", "127.0.0.1:0", "127.0.0.1:" + "9" * 5000,
    ],
)  # fmt: skip
def test_a_receiver_must_be_an_address(
    to: str, scenario: str, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(["send", scenario, "--key", key, "--to", to], capsys)
    assert "--to " in error
    assert "must be HOST:PORT" in error


@pytest.mark.parametrize("host", ["no-such-host.invalid", "[::1]", "::1", "a..b", "x" * 70])
def test_a_host_must_be_known(
    host: str, scenario: str, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"--to {host}:5004: " in refused(
        ["send", scenario, "--key", key, "--to", f"{host}:5004"], capsys
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "16"),
        (b"short", "16"),
        (b"\n \n", "16"),
        (b"00112233445566", "16"),
        (b"0" * 33, "an odd number of hex digits (33)"),
        (bytes(range(10)), "16"),
    ],
)
@pytest.mark.parametrize("command", ["send", "receive"])
def test_a_bad_key_is_refused(
    command: str,
    content: bytes,
    message: str,
    scenario: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "short"
    path.write_bytes(content)
    arguments = [command, *([scenario] if command == "send" else []), "--key", str(path)]
    error = refused(arguments, capsys)
    assert f"--key {path}" in error
    assert message in error


@pytest.mark.parametrize("command", ["send", "receive"])
def test_no_key_says_how_to_give_one(
    command: str,
    scenario: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [command, *([scenario] if command == "send" else [])]
    assert "give --key FILE, or set TESTBED_KEY" in refused(arguments, capsys)
    missing = tmp_path / "missing"
    assert f"--key {missing}: No such file" in refused([*arguments, "--key", str(missing)], capsys)
    assert "Is a directory" in refused([*arguments, "--key", str(tmp_path)], capsys)
    monkeypatch.setenv("TESTBED_KEY", "0011")
    assert "TESTBED_KEY" in refused(arguments, capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["send", "no-such-scenario"], "no-such-scenario"),
        (["send", "{scenario}", "--set", "seeds=[1,2]"], "describes 2 runs"),
        (["send", "{scenario}", "--set", "transports=[h264,h265,morphe]"], "describes 3 runs"),
        (["send", "{scenario}", "--set", "transports=[pigeon]"], "pigeon"),
        (["send", "{scenario}", "--set", "duration_s=-1"], "duration_s"),
        (["send", "{scenario}", "--set", "rate.control=oracle"], "oracle"),
        (["send", "{scenario}", "--set", "clips=[no-such-clip]"], "no-such-clip"),
        (["send", "{scenario}", "--bind", "127.0.0.1"], "--bind 127.0.0.1: must be HOST:PORT"),
        (["send", "{scenario}", "--bind", "192.0.2.7:0"], "--bind 192.0.2.7:0: Cannot assign"),
        (["receive", "--listen", "192.0.2.7:0"], "--listen 192.0.2.7:0: Cannot assign"),
        (["receive", "--listen", "everywhere"], "--listen everywhere: must be HOST:PORT"),
    ],
)
def test_wrong_use_is_one_line(
    arguments: list[str],
    message: str,
    scenario: str,
    key: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled = [argument.format(scenario=scenario) for argument in arguments]
    assert message in refused([*filled, "--key", key], capsys)


def test_an_address_in_use(
    taken: str, scenario: str, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["receive", "--listen", taken], ["send", scenario, "--bind", taken]):
        error = refused([*arguments, "--key", key], capsys)
        assert f"{arguments[-2]} {taken}: Address already in use" in error


@pytest.mark.parametrize("option", ["--sessions=-1", "--sessions=many"])
def test_sessions_are_counted_from_zero(
    option: str, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["receive", "--key", key, option]) == 2
    assert "--sessions" in capsys.readouterr().err
