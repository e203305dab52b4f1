"""Bringing about what mahimahi needs, by Debian's own tools in a private machine."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from testbed.errors import ToolFailedError, ToolMissingError
from testbed.paths import data_dir
from testbed.worlds import mahimahi_conditions, mahimahi_setup
from testbed.worlds.mahimahi_setup import SHIM, Choice, parse_alternatives
from tests.worlds.plain_machine import live, run_there

#: As Debian 12's update-alternatives 1.21.22 prints it.
QUERY = """\
Name: iptables
Link: /usr/sbin/iptables
Slaves:
 iptables-restore /usr/sbin/iptables-restore
 iptables-save /usr/sbin/iptables-save
Status: auto
Best: /usr/sbin/iptables-nft
Value: /usr/sbin/iptables-nft

Alternative: /usr/sbin/iptables-legacy
Priority: 10
Slaves:
 iptables-restore /usr/sbin/iptables-legacy-restore
 iptables-save /usr/sbin/iptables-legacy-save

Alternative: /usr/sbin/iptables-nft
Priority: 20
Slaves:
 iptables-restore /usr/sbin/iptables-nft-restore
 iptables-save /usr/sbin/iptables-nft-save
"""


def test_alternatives_are_read_with_their_slaves() -> None:
    found = parse_alternatives(QUERY)
    assert found.link == "/usr/sbin/iptables"
    assert found.value == "/usr/sbin/iptables-nft"
    assert found.automatic
    assert found.slaves["iptables-save"] == "/usr/sbin/iptables-save"
    assert found.choices["/usr/sbin/iptables-legacy"] == Choice(
        10,
        {
            "iptables-restore": "/usr/sbin/iptables-legacy-restore",
            "iptables-save": "/usr/sbin/iptables-legacy-save",
        },
    )
    assert not parse_alternatives(QUERY.replace("auto", "manual")).automatic
    with pytest.raises(ToolFailedError, match="does not know iptables"):
        parse_alternatives("")


def test_the_wrapper_runs_the_present_iptables_and_never_itself() -> None:
    found = parse_alternatives(QUERY)
    assert mahimahi_setup._real(found, SHIM) == "/usr/sbin/iptables-nft"
    found.choices[str(SHIM)] = Choice(100)
    found.value = str(SHIM)
    assert mahimahi_setup._real(found, SHIM) == "/usr/sbin/iptables-nft"
    found.choices = {str(SHIM): Choice(100)}
    with pytest.raises(ToolFailedError, match="no other iptables"):
        mahimahi_setup._real(found, SHIM)


def test_what_others_can_change_never_gets_root_s_rights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tool = tmp_path / "mm-link"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o777)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolFailedError, match="can be changed by others than root"):
        mahimahi_setup.set_uid()
    assert tool.stat().st_mode & 0o7777 == 0o777


def test_a_step_that_is_done_does_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    switch = tmp_path / "ip_forward"
    switch.write_text("0\n")
    monkeypatch.setattr(mahimahi_conditions, "IP_FORWARD", switch)
    (line,) = mahimahi_setup.forwarding()
    assert "until the next boot; for good: " in line
    assert switch.read_text() == "1\n"
    assert mahimahi_setup.forwarding() == []


def test_what_cannot_be_written_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mahimahi_conditions, "IP_FORWARD", tmp_path / "no" / "ip_forward")
    with pytest.raises(ToolFailedError, match=r"No such file.*in a container: docker run --sysctl"):
        mahimahi_setup.forwarding()


def test_the_install_script_is_shipped() -> None:
    script = data_dir("tools") / "install_mahimahi.sh"
    assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0


def test_what_the_install_script_says_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # without mm-link
    monkeypatch.setattr(mahimahi_setup, "data_dir", lambda _name: tmp_path)
    with pytest.raises(ToolMissingError, match="is not there; install the testbed again"):
        mahimahi_setup.install()
    script = tmp_path / "install_mahimahi.sh"
    script.write_text("echo 'install_mahimahi: this is fedora, not Debian' >&2; exit 1\n")
    with pytest.raises(ToolFailedError, match=r"^sh: install_mahimahi: this is fedora"):
        mahimahi_setup.install()
    script.write_text("exit 0\n")
    assert mahimahi_setup.install()[0].startswith("installed mahimahi from Debian 11 (undo: ")


def state() -> tuple[str, str, list[str]]:
    """What `doctor --fix` could have changed on the real machine."""
    return (
        Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        str(Path("/usr/sbin/iptables").resolve()),
        [oct(Path(f"/usr/bin/{tool}").stat().st_mode) for tool in mahimahi_conditions.SHELLS],
    )


class TestLive:
    """`testbed doctor --fix` as root, and what an ordinary user finds afterwards."""

    pytestmark = live

    def test_everything_is_fixed_once_and_can_be_undone(self) -> None:
        before = state()
        said = run_there(
            """
            chmod u-s /usr/bin/mm-loss
            echo 0 > /proc/sys/net/ipv4/ip_forward
            echo "== before"; update-alternatives --query iptables
            echo "== not fixed"; $AS_USER $TESTBED doctor --json
            echo "== refused"; $AS_USER $TESTBED doctor --fix 2>&1 || echo "rc $?"
            echo "== first"; $TESTBED doctor --fix 2>&1 >/dev/null
            echo "== second"; $TESTBED doctor --fix 2>&1 >/dev/null
            echo "== fixed"; $AS_USER $TESTBED doctor --json
            echo "== tun"; stat -c '%A %t:%T' /dev/net/tun
            echo "== shim"; stat -c '%A %U:%G' "$(readlink -f /usr/sbin/iptables)"
            echo "== tools"; iptables -w -t nat -S; iptables-save >/dev/null; echo saved
            echo "== ordinary"; $AS_USER iptables -w -t nat -S 2>&1 || true
            update-alternatives --remove iptables /usr/local/lib/morphe-testbed/iptables >/dev/null
            rm -r /usr/local/lib/morphe-testbed
            echo "== after"; update-alternatives --query iptables
            """,
        )
        assert state() == before
        wrong = {f["name"] for f in json.loads(said["not fixed"]) if not f["ok"]}
        assert wrong >= {"mm-link set-uid", "/dev/net/tun", "ip_forward", "root"}
        assert "doctor --fix needs root to fix mm-link set-uid, /dev/net/tun" in said["refused"]
        assert said["refused"].endswith("rc 2\n")
        first = said["first"]
        assert "chmod u+s /usr/bin/mm-loss (undo: chmod u-s /usr/bin/mm-loss)\n" in first
        assert "mknod /dev/net/tun c 10 200" in first
        assert "sysctl -w net.ipv4.ip_forward=1, until the next boot" in first
        assert "/usr/sbin/iptables works for set-uid callers" in first
        assert f"update-alternatives --remove iptables {SHIM} && rm -r {SHIM.parent}" in first
        assert said["second"] == "nothing to fix\n"
        found = {f["name"]: f for f in json.loads(said["fixed"])}
        for name in ("mm-link", "mm-link set-uid", "/dev/net/tun", "ip_forward"):
            assert found[name]["ok"], found[name]
        assert found["starting a shell"]["detail"] == "works"
        assert said["tun"] == "crw-rw-rw- a:c8\n"
        assert said["shim"] == "-rwxr-xr-x root:root\n"
        assert re.search(r"^-P PREROUTING ACCEPT\n(.*\n)*saved\n", said["tools"])
        assert "Permission denied" in said["ordinary"]
        assert said["after"] == said["before"]

    def test_a_choice_that_somebody_made_by_hand_is_kept_for_the_way_back(self) -> None:
        said = run_there(
            """
            update-alternatives --set iptables /usr/sbin/iptables-nft >/dev/null
            echo "== first"; $TESTBED doctor --fix 2>&1 >/dev/null
            echo "== there"; readlink -f /usr/sbin/iptables
            """,
        )
        assert (
            "undo: update-alternatives --set iptables /usr/sbin/iptables-nft && " in said["first"]
        )
        assert said["there"] == f"{SHIM}\n"
