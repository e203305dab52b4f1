"""An ordinary user's shells: their command line, the way out of them, and real sessions.

Sessions run in a machine made in namespaces (`plain_machine`), with a single shell: shells inside
shells need forwarding in the machine's first namespace, which no test switches on. Their command
line is compared as text.
"""

import ipaddress
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from testbed.network.spec import DelaySpec, LossSpec, PathSpec, QueueSpec
from testbed.network.trace import OpportunityTrace
from testbed.worlds.realtime.plain_shells import nested_command, own_address
from testbed.worlds.realtime.shell_inner import WELL_DONE
from testbed.worlds.realtime.shells import plan_shells
from tests.worlds.helpers import session
from tests.worlds.plain_machine import live, run_there

INNER = "testbed.worlds.realtime.shell_inner"

SCENARIO = """
name: plain
clips: [bbb-720p]
width: 320
height: 180
fps: 30
duration_s: 3
downlink:
  trace: ["constant:1Mbps"]
  mode: opportunities
  queue: {kind: droptail, packets: 60}
transports: [h264]
rate: {control: fixed, kbps: 300}
playout: {deadline_ms: 400}
seeds: [1]
quality: []
"""


def way(loss: float, packets: int) -> PathSpec:
    return PathSpec(
        trace=OpportunityTrace(np.array([5])),
        mode="opportunities",
        queue=QueueSpec("droptail", packets=packets),
        loss=(LossSpec("bernoulli", {"rate": loss}),) if loss else (),
        delay=DelaySpec(delay_ms=20),
    )


def test_shells_nest_on_one_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    spec = session(down=way(0.05, 60), up=way(0.0, 30))
    plan = plan_shells(spec, end_ns=10**9, lead_ms=100)
    inner = f"{sys.executable} -m {INNER} {tmp_path}/inner.sock"
    line = " ".join(nested_command(plan, tmp_path))
    assert line == (
        "env --default-signal=HUP mm-link session.up.trace session.down.trace "
        "--uplink-log=session.up.log --uplink-queue=droptail --uplink-queue-args=packets=30 "
        "--downlink-log=session.down.log --downlink-queue=droptail "
        "--downlink-queue-args=packets=60 -- "
        f"mm-loss downlink 0.050000000 mm-delay 20 {inner}"
    )
    assert nested_command(plan, tmp_path, priority=True)[:3] == ["chrt", "--rr", "1"]
    # The loader takes it from set-uid programs; the Python inside may need it.
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/python/lib")
    line = " ".join(nested_command(plan, tmp_path))
    assert line.endswith(f"mm-delay 20 env LD_LIBRARY_PATH=/opt/python/lib {inner}")


def test_the_own_address_is_one_that_can_be_bound() -> None:
    own = own_address()
    if own is not None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
            made.bind((own, 0))
        assert ipaddress.ip_address(own) not in ipaddress.ip_network("100.64.0.0/10")


class TestInner:
    """What runs inside of all, as a process of its own."""

    @pytest.mark.parametrize("well", [True, False])
    def test_it_hands_a_socket_out_and_ends_with_the_connection(
        self, tmp_path: Path, well: bool
    ) -> None:
        folder = tmp_path / "work"
        folder.mkdir()
        where = str(folder / "s")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(where)
            listener.listen(1)
            listener.settimeout(60.0)
            process = subprocess.Popen(
                [sys.executable, "-m", INNER, where],
                env={**os.environ, "MAHIMAHI_BASE": "100.64.0.1"},
            )
            try:
                connection, _ = listener.accept()
                with connection:
                    data, handles, _, _ = socket.recv_fds(connection, 4096, 1)
                    assert json.loads(data) == {"outer": "100.64.0.1"}
                    with socket.socket(fileno=handles[0]) as made:
                        assert made.type == socket.SOCK_DGRAM
                        port = made.getsockname()[1]
                        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                            other.sendto(b"hello", ("127.0.0.1", port))
                        made.settimeout(60.0)
                        assert made.recv(16) == b"hello"
                    assert process.poll() is None
                    if well:
                        connection.sendall(WELL_DONE)
                assert process.wait(timeout=60) == 0
            finally:
                process.kill()
                process.wait()
        # Whoever was killed removes nothing any more.
        assert folder.exists() == well

    def test_without_anybody_outside_it_ends_at_once(self, tmp_path: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-m", INNER, str(tmp_path / "work" / "nobody")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr == (
            "the testbed that started these shells is gone (No such file or directory)\n"
        )


class TestLive:
    """Real sessions of an ordinary user, with mahimahi's own address and with the machine's."""

    pytestmark = live

    @pytest.mark.parametrize("route", [False, True], ids=["mahimahi's address", "own address"])
    def test_a_session_and_nothing_stays_behind(self, route: bool) -> None:
        files = {"plain.yaml": SCENARIO}
        add = "ip address add 203.0.113.7/32 dev lo; ip route add default dev lo src 203.0.113.7"
        said = run_there(
            f"""
            {add if route else ":"}
            $TESTBED doctor --fix >/dev/null 2>&1
            $AS_USER $TESTBED run "$STAGE/plain.yaml" --world mahimahi --out "$HOME/out" >&2
            echo "== manifest"; cat "$HOME"/out/runs/*/manifest.json
            echo "== summary"; cat "$HOME"/out/runs/*/summary.json
            echo "== rules"; iptables -w -t nat -S; iptables -w -t mangle -S
            echo "== devices"; ls /sys/class/net
            echo "== left"; ls "$TMPDIR" | grep testbed-mm || true
            """,
            files=files,
        )
        network = facts(json.loads(said["manifest"]))
        assert network["shells"] == ["mm-link"]
        assert network["ipv6_housekeeping"]
        for name in ("down", "up"):
            seen = network[name]
            link = seen["link"]
            assert link["equal"] == link["departures"] > 20
            # What came last may still be in the queue when the shell ends.
            few = link["arrivals"] // 20
            assert 0 <= link["arrivals"] - link["departures"] <= few
            # What is not ours is the kernel's; a busy machine may log a datagram too late to be
            # known (NEAR_MS), and a few that left mm-link may not arrive (mahimahi F29).
            assert seen["unmatched"] - seen["housekeeping"] <= few
            assert seen["vanished"] <= few
        summary = json.loads(said["summary"])
        assert summary["frames"] == 90
        assert summary["queue_drop_share"] == 0.0
        rules = said["rules"].splitlines()
        assert rules
        assert all(rule.startswith("-P ") for rule in rules), rules
        assert "delay" not in said["devices"]
        assert "link" not in said["devices"]
        assert said["left"] == ""

    def test_shells_end_when_the_testbed_is_killed(self) -> None:
        files = {"plain.yaml": SCENARIO.replace("_s: 3", "_s: 30")}
        said = run_there(
            """
            $TESTBED doctor --fix >/dev/null 2>&1
            $AS_USER $TESTBED run "$STAGE/plain.yaml" --world mahimahi --out "$HOME/out" \
                >/dev/null 2>&1 &
            testbed=$!
            shells() { grep -lx mm-link /proc/[0-9]*/comm 2>/dev/null; }
            n=0
            packets() { cat "$TMPDIR"/testbed-mm-*/session.down.log 2>/dev/null | grep -c ' + '; }
            until [ "$(packets)" -gt 50 ] || [ $n = 900 ]; do
                n=$((n + 1)); sleep 0.1
            done
            echo "== before"; shells | wc -l; iptables -w -t nat -S
            kill -9 "$testbed"
            n=0
            while [ -n "$(shells)" ] && [ $n -lt 300 ]; do n=$((n + 1)); sleep 0.1; done
            echo "== after"; shells | wc -l; iptables -w -t nat -S
            echo "== left"; ls "$TMPDIR" | grep testbed-mm || true
            """,
            files=files,
        )
        assert int(said["before"].splitlines()[0]) > 0
        assert "100.64.0" in said["before"]
        assert int(said["after"].splitlines()[0]) == 0
        assert "100.64.0" not in said["after"]
        assert said["left"] == ""

    def test_each_missing_condition_is_one_line_with_its_fix(self) -> None:
        files = {"plain.yaml": SCENARIO}
        said = run_there(
            """
            session() {
                $AS_USER $TESTBED run "$STAGE/plain.yaml" --world mahimahi --out "$HOME/$1" 2>&1 ||
                    echo "rc $?"
            }
            echo 0 > /proc/sys/net/ipv4/ip_forward
            chmod u-s /usr/bin/mm-loss
            echo "== three"; session 1
            chmod u+s /usr/bin/mm-loss
            echo 1 > /proc/sys/net/ipv4/ip_forward
            mknod -m 666 /dev/net/tun c 10 200
            echo "== iptables"; session 2
            $TESTBED doctor --fix >/dev/null 2>&1
            rm /dev/net/tun
            mknod -m 666 /dev/net/tun c 10 199
            echo "== device"; session 3
            echo "== group"
            setpriv --reuid=65534 --regid=0 --clear-groups $TESTBED doctor | grep -A 1 group
            """,
            files=files,
        )
        three = said["three"].splitlines()
        (line,) = [line for line in three if line.startswith("error: ")]
        assert (
            "mm-link set-uid: mm-loss is not set-uid root -> sudo chmod u+s /usr/bin/mm-loss; "
            in line
        )
        assert "/dev/net/tun: /dev/net/tun is not there -> sudo modprobe tun" in line
        assert "ip_forward: off: this machine does not forward packets -> sudo sysctl -w" in line
        assert three[-1] == "rc 2"
        assert (
            "mm-link cannot run here: iptables under mm-link: refuses set-uid callers (Debian 12) "
            "-> `testbed doctor --fix` as root puts a wrapper in its place\n"
        ) in said["iptables"]
        assert "/dev/net/tun: the shells cannot open it -> sudo modprobe tun" in said["device"]
        assert "mahimahi refuses callers of the group root" in said["group"]


def facts(manifest: object) -> dict[str, Any]:
    """The world's facts of the network, wherever the manifest has them."""
    if isinstance(manifest, dict):
        if "ipv6_housekeeping" in manifest:
            return manifest
        for value in manifest.values():
            found = facts(value)
            if found:
                return found
    return {}
