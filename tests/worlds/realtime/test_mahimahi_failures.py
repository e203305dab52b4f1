"""Shells that fail: one line that says what they said, as root and as an ordinary user."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from testbed.errors import ToolFailedError
from testbed.network.spec import PathSpec
from testbed.worlds.realtime.mahimahi_world import running_shells
from testbed.worlds.realtime.shells import ShellPlan, plan_shells
from tests.worlds.helpers import session
from tests.worlds.plain_machine import live, run_there

pytestmark = live


def plan(*more: tuple[str, ...]) -> ShellPlan:
    spec = session(down=PathSpec(), up=PathSpec())
    made = plan_shells(spec, end_ns=10**9, lead_ms=3000)
    return replace(made, shells=(*made.shells, *more))


def descendants(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            yield child
            yield from descendants(child)


def called(name: str) -> list[int]:
    """Processes below this one of that name."""
    found = descendants(os.getpid())
    return [pid for pid in found if Path(f"/proc/{pid}/comm").read_text() == f"{name}\n"]


def test_what_a_shell_refuses_is_in_the_message(tmp_path: Path) -> None:
    with (
        pytest.raises(ToolFailedError, match=r"^mahimahi: .*mm-loss") as caught,
        running_shells(plan(("mm-loss", "sideways", "0.5")), tmp_path),
    ):
        pytest.fail("mm-loss has no such direction")
    assert "\n" not in str(caught.value)


def test_a_shell_that_dies_within_a_session_is_an_error_at_its_end(tmp_path: Path) -> None:
    def session_with_a_murder() -> None:
        with running_shells(plan(), tmp_path):
            shells = called("mm-link")
            assert shells
            for pid in shells:
                os.kill(pid, signal.SIGKILL)
            (outside,) = called("unshare")
            os.waitid(os.P_PID, outside, os.WEXITED | os.WNOWAIT)  # it noticed, and is gone

    with pytest.raises(ToolFailedError, match=r"^mahimahi: a shell died \(status -?\d+\)$"):
        session_with_a_murder()


#: Runs as an ordinary user: what `running_shells` says of bad shells, and of one that dies later.
PROGRAM = """
import os, select, signal, sys
from pathlib import Path
from tempfile import TemporaryDirectory
sys.path.insert(0, sys.argv[1])
from tests.worlds.realtime.test_mahimahi_failures import called, plan
from testbed.errors import ToolFailedError
from testbed.worlds.realtime.mahimahi_world import running_shells
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup; the shells end each other with it
for shells in ([("mm-delay", "soon")], [("no-such-shell",)], []):
    with TemporaryDirectory() as work:
        try:
            with running_shells(plan(*shells), Path(work)) as running:
                print("came up")
                (outermost,) = called("mm-link")[:1]
                os.kill(outermost, signal.SIGTERM)
                select.select([running.lifeline], [], [])
                raise running.failure()
        except ToolFailedError as error:
            print(error)
"""


def test_an_ordinary_user_reads_the_same() -> None:
    said = run_there(
        """
        $TESTBED doctor --fix >/dev/null 2>&1
        ip address add 203.0.113.7/32 dev lo
        ip route add default dev lo src 203.0.113.7
        echo "== said"; $AS_USER $PYTHON "$STAGE/program.py" "$PYTHONPATH"
        echo "== rules"; iptables -w -t nat -S
        """,
        files={"program.py": PROGRAM},
    )
    first, second, up, third = said["said"].splitlines()
    assert first.startswith("mahimahi: ")
    assert "no-such-shell" in second
    assert up == "came up"
    assert third.startswith("mahimahi: a shell died (status ")
    assert "100.64.0" not in said["rules"]
