"""A machine for an ordinary user's mahimahi, made in namespaces: nothing outside changes.

Network, mount and process namespaces of their own, with the folders that `doctor --fix` changes
under an overlay in memory. What an ordinary user must read is made readable there. A namespace that
a shell makes inherits ip_forward from the machine's first namespace, not from this one, so where
that has it off, shells inside shells cannot run here: sessions have a single shell.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from testbed.worlds.mahimahi_conditions import find_problems

ROOT: Final = Path(__file__).parents[2]

#: Set where the live checks must run: there, what keeps them from running is a failure.
REQUIRED: Final = os.environ.get("TESTBED_REQUIRE_MAHIMAHI") == "1"

live: Final = [
    pytest.mark.mahimahi,
    pytest.mark.skipif(
        bool(find_problems()) and not REQUIRED,
        reason="; ".join(problem.what for problem in find_problems()),
    ),
]

_PREPARE: Final = """
mkdir "$STAGE/up"
mount -t tmpfs tmpfs "$STAGE/up"
n=0
for folder in /etc /usr /var/lib/dpkg /var/log; do
    n=$((n + 1))
    mkdir "$STAGE/up/$n" "$STAGE/up/$n.work"
    mount -t overlay -o "lowerdir=$folder,upperdir=$STAGE/up/$n,workdir=$STAGE/up/$n.work" \
        overlay "$folder"
done
mkdir "$STAGE/up/net"
mount --bind "$STAGE/up/net" /dev/net
# What lies below a folder that only root may enter is shown there alone.
for path in $READABLE; do
    top=$path
    closed=
    while [ "$top" != / ]; do
        top=$(dirname "$top")
        [ -z "$(find "$top" -maxdepth 0 ! -perm -o+x)" ] || closed=$top
    done
    [ -n "$closed" ] || continue
    n=$((n + 1))
    mkdir "$STAGE/up/$n"
    mount --bind "$path" "$STAGE/up/$n"
    mount -t tmpfs -o mode=755 tmpfs "$closed"
    mkdir -p "$path"
    mount --bind "$STAGE/up/$n" "$path"
done
ip link set lo up
mkdir -m 1777 "$STAGE/up/tmp"
export TMPDIR="$STAGE/up/tmp" HOME="$STAGE/up/tmp" TESTBED_CACHE="$STAGE/up/tmp/cache"
cd "$HOME"
TESTBED="$PYTHON -m testbed.cli.main"
AS_USER="setpriv --reuid=65534 --regid=65534 --clear-groups"
"""


def run_there(script: str, *, files: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a shell script prints in such a machine, by its own headings (`== NAME`).

    Args:
        script: has `$TESTBED`, `$AS_USER` and `$PYTHON`.
        files: text files that it finds in $STAGE.
    """
    # The outer ones first: a folder on the way from one to the other may be closed as well.
    shown = {str(one) for one in (Path(sys.prefix), Path(sys.base_prefix), ROOT)}
    with tempfile.TemporaryDirectory(prefix="testbed-machine-") as stage:
        Path(stage).chmod(0o755)
        for name, text in (files or {}).items():
            (Path(stage) / name).write_text(text)
        done = _run(script, stage, sorted(shown))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    parts = re.split(r"^== (.+)\n", done.stdout, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _run(script: str, stage: str, shown: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *("unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"),
            *("sh", "-euc", _PREPARE + script),
        ],
        env={
            **os.environ,
            "STAGE": stage,
            "READABLE": " ".join(map(str, shown)),
            "PYTHON": sys.executable,
            "PYTHONPATH": str(ROOT),
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
            # The machine may be busy; these sessions are not about numbers.
            "TESTBED_BUSY_P99_MS": "1000",
        },
        cwd="/",
        capture_output=True,
        text=True,
        timeout=200.0,
        check=False,
    )
