import subprocess
import sys
from pathlib import Path

import pytest

from testbed.worlds import mahimahi_tools
from testbed.worlds.mahimahi_tools import end_gently, last_words, said_by

#: Two shells, the inner one without forwarding; as mahimahi 0.98 says it.
NESTED = """\
Died on std::runtime_error: mm-loss: Please run "sudo sysctl -w net.ipv4.ip_forward=1" to enable IP
Died on std::runtime_error: `mm-loss downlink 0.05 mm-delay 20 x': process exited with failure status 1
Died on std::runtime_error: `packetshell': process exited with failure status 1
"""  # noqa: E501


def test_the_shell_that_failed_speaks_for_those_around_it() -> None:
    assert last_words(NESTED, 1) == NESTED.splitlines()[0]
    assert last_words("one\ntwo\nthree\n", 1) == "two; three"
    only = "Died on std::runtime_error: `packetshell': process died on signal 6"
    assert last_words(only, 1) == only
    assert last_words("", 3) == "exit status 3"
    refused = "Died on std::runtime_error: `/usr/sbin/iptables -w': process exited with status 111"
    assert last_words(refused, 1) == refused


def test_what_a_tool_says_is_kept() -> None:
    done = said_by(["sh", "-c", "echo why >&2; exit 4"])
    assert (done.returncode, done.stderr) == (4, "why\n")
    missing = said_by(["no-such-shell"])
    assert missing.returncode == 127
    assert missing.stderr == "no-such-shell: No such file or directory"


def test_a_tool_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mahimahi_tools, "_TRIAL_S", 0.2)
    done = said_by(["sleep", "600"])
    assert done.returncode == -15  # SIGTERM, on which a shell takes its rules with it
    assert done.stderr == "no end after 0.2 s"


def test_what_ends_by_itself_is_left_to_it_and_the_stubborn_is_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    process = subprocess.Popen(["sh", "-c", "sleep 0.2; exit 7"])
    end_gently(process, wait_s=60.0)
    assert process.returncode == 7
    monkeypatch.setattr(mahimahi_tools, "_END_S", 0.2)
    program = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('up', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as stubborn:
        assert stubborn.stdout is not None
        assert stubborn.stdout.readline() == b"up\n"
        end_gently(stubborn, wait_s=0.0)
        assert stubborn.returncode == -9
