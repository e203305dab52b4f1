"""Running mahimahi's shells and tools like them: what they said, and an end that leaves nothing."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Sequence
from typing import Any, Final

#: Where system tools lie, also for a PATH without the sbin folders.
SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: How long a trial of a shell, or an iptables, may take.
_TRIAL_S: Final = 20.0
#: How long a shell that must end gets to take its iptables rules with it.
_END_S: Final = 5.0
#: A shell that only hands on how the one inside it ended.
_HANDED_ON: Final = re.compile(r"`(packetshell|(uplink|downlink)\b|mm-|linkshell|\S*python)[^']*'")


def last_words(stderr: str, status: object) -> str:
    """The useful end of what shells said: the last two lines that are not about other lines."""
    lines = stderr.strip().splitlines()
    own = [line for line in lines if not _HANDED_ON.search(line)] or lines
    return "; ".join(own[-2:]) or f"exit status {status}"


def end_gently(process: subprocess.Popen[Any], *, wait_s: float = _END_S) -> None:
    """Reap a shell that has been told to end; a shell that is killed leaves iptables rules."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=wait_s)
        return
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_END_S)
        return
    process.kill()
    process.wait()


def said_by(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end, which must come soon; its status and stderr, 127 without it."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
            env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:{SEARCH_PATH}"},
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]}: {error.strerror}")
    with process:
        try:
            _, stderr = process.communicate(timeout=_TRIAL_S)
        except subprocess.TimeoutExpired:
            end_gently(process, wait_s=0.0)
            stderr = f"no end after {_TRIAL_S:g} s"
    return subprocess.CompletedProcess(command, process.returncode, "", stderr)


__all__ = ["SEARCH_PATH", "end_gently", "last_words", "said_by"]
