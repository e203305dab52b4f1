"""Each condition by itself; what shells say is what mahimahi 0.98 said when it was tried."""

import os
import stat
from pathlib import Path

import pytest

from testbed.errors import ToolMissingError
from testbed.worlds import mahimahi_conditions
from testbed.worlds.mahimahi_conditions import (
    SHELLS,
    find_plain_problems,
    installed,
    look,
    require_shells,
    set_uid,
    try_shell,
    tun,
)

FORWARD_OFF = (
    'Died on std::runtime_error: mm-delay: Please run "sudo sysctl -w net.ipv4.ip_forward=1" to '
    "enable IP forwarding"
)
NESTED_OFF = f"""{FORWARD_OFF}
Died on std::runtime_error: `mm-delay 0 true': process exited with failure status 1
Died on std::runtime_error: `packetshell': process exited with failure status 1"""
IPTABLES = (
    "Died on std::runtime_error: `/usr/sbin/iptables -w -t nat -A PREROUTING -s 100.64.0.2 "
    "-j CONNMARK --set-mark 15302': process exited with failure status 111"
)
AS_ROOT = "Died on std::runtime_error: mm-delay: please run as non-root"


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that is all of the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def tool(path: Path, said: str = "", status: int = 0, mode: int = 0o755) -> None:
    path.write_text(f"#!/bin/sh\n/bin/cat >&2 <<'END'\n{said}\nEND\nexit {status}\n")
    path.chmod(mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="makes files that belong to root")
def test_a_lost_set_uid_bit_is_named_with_its_tool(tools: Path) -> None:
    assert set_uid() is None  # nothing there to look at
    assert "mm-link is not installed" in installed().detail
    for name in SHELLS:
        tool(tools / name, mode=0o4755)
    found = set_uid()
    assert found is not None
    assert installed().ok
    assert found.ok or "nosuid" in found.detail
    (tools / "mm-loss").chmod(0o755)
    found = set_uid()
    assert found is not None
    assert (found.ok, found.detail) == (False, "mm-loss is not set-uid root")
    assert found.fix == f"sudo chmod u+s {tools}/mm-loss"
    os.chown(tools / "mm-loss", 1, 1)
    (tools / "mm-loss").chmod(0o4755)
    found = set_uid()
    assert found is not None
    assert not found.ok  # set-uid of somebody else
    assert "must be root's" in found.fix


def test_the_missing_one_of_several_shells_is_named(tools: Path) -> None:
    for name in SHELLS[:-1]:
        tool(tools / name)
    assert installed().detail == "mm-onoff is not installed"


def test_a_tun_device_is_a_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mahimahi_conditions, "TUN", tmp_path / "tun")
    assert tun().detail == f"{tmp_path}/tun is not there"
    (tmp_path / "tun").write_text("")
    assert tun().detail == f"{tmp_path}/tun is not a device"
    monkeypatch.setattr(mahimahi_conditions, "TUN", Path("/dev/null"))
    assert tun().ok


@pytest.mark.parametrize(
    ("said", "name", "fix"),
    [
        (FORWARD_OFF, "ip_forward", "sudo sysctl -w net.ipv4.ip_forward=1"),
        (IPTABLES, "iptables under mm-link", "`testbed doctor --fix` as root"),
        (AS_ROOT, "group", "run with an ordinary group"),
        (
            "Died on std::runtime_error: mm-delay: needs to be installed setuid root",
            "mm-link set-uid",
            "without no-new-privileges",
        ),
        ("Died on unix_error: open /dev/net/tun: No such device", "/dev/net/tun", "modprobe tun"),
    ],
)
def test_what_a_shell_says_is_told_apart(tools: Path, said: str, name: str, fix: str) -> None:
    tool(tools / "mm-delay", said, 1)
    found = try_shell()
    assert (found.name, found.ok) == (name, False)
    assert fix in found.fix


def test_what_nobody_knows_is_passed_on(tools: Path) -> None:
    tool(tools / "mm-delay", "first\nDied on std::runtime_error: the moon is full", 1)
    assert try_shell().detail == (
        "mm-delay fails: first; Died on std::runtime_error: the moon is full"
    )
    tool(tools / "mm-delay")
    assert try_shell().ok


def test_shells_in_shells_need_forwarding_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tools: Path, tmp_path: Path
) -> None:
    switch = tmp_path / "ip_forward"
    switch.write_text("1\n")
    monkeypatch.setattr(mahimahi_conditions, "IP_FORWARD", switch)
    tool(tools / "mm-delay", NESTED_OFF, 1)
    found = try_shell(nested=True)
    assert found.name == "nested shells"
    assert "devconf_inherit_init_net" in found.fix
    # Off here as well: then that is what to begin with.
    switch.write_text("0\n")
    assert try_shell(nested=True).name == "ip_forward"


def test_an_ordinary_user_has_conditions_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tools: Path, tmp_path: Path
) -> None:
    (tmp_path / "ip_forward").write_text("0\n")
    monkeypatch.setattr(mahimahi_conditions, "IP_FORWARD", tmp_path / "ip_forward")
    monkeypatch.setattr(mahimahi_conditions, "TUN", tmp_path / "tun")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ToolMissingError) as caught:
        require_shells(nested=False)
    line = str(caught.value)
    assert "\n" not in line
    for words in ("mm-link is not installed -> ", "is not there -> ", "ip_forward: off"):
        assert words in line
    assert "namespaces" not in line  # root's way, which nobody asked for
    assert [one.name for one in look("root") if not one.ok] == ["root"]


def test_root_cannot_be_an_ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    (problem,) = find_plain_problems()
    assert "refuse to be called by root" in problem.what


def test_the_numbers_of_the_device_are_the_kernel_s() -> None:
    if not Path("/dev/net/tun").exists():
        pytest.skip("no TUN device to compare with")
    status = Path("/dev/net/tun").stat()
    assert stat.S_ISCHR(status.st_mode)
    numbers = os.major(status.st_rdev), os.minor(status.st_rdev)
    assert numbers == mahimahi_conditions.TUN_NUMBERS
