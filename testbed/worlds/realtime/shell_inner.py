"""What an ordinary user's shells run inside of all: a UDP socket, handed out to the testbed.

Started as `python -m testbed.worlds.realtime.shell_inner SOCKET`. SOCKET is a Unix socket in the
file system, which is the same in every network namespace. It makes the UDP socket where it is,
hands it over with mahimahi's outer address, and stays until the other end closes the connection or
is gone: then the shells end one after the other from the inside out, and each takes its iptables
rules with it. Where nobody said that all is well, the folder of SOCKET goes too, since whoever
would remove it was killed. Only the standard library is imported, so that it starts quickly.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Final

from testbed.worlds.mahimahi_inside import udp_socket

#: What mahimahi calls the outer address of the innermost shell, in the environment of its command.
OUTER_NAME: Final = "MAHIMAHI_BASE"
#: What the testbed says at the end of a session that went well: it still wants the logs.
WELL_DONE: Final = b"end"
#: How long the testbed may take to answer.
_CONNECT_S: Final = 10.0


def main(path: str) -> None:
    """Hand a UDP socket of this namespace over, and wait for the end."""
    with socket.socket(socket.AF_UNIX) as outside:
        outside.settimeout(_CONNECT_S)
        try:
            outside.connect(path)
        except OSError as error:
            _tidy(path)
            sys.exit(f"the testbed that started these shells is gone ({error.strerror})")
        answer = {"outer": os.environ.get(OUTER_NAME, "")}
        with udp_socket() as made:
            socket.send_fds(outside, [json.dumps(answer).encode()], [made.fileno()])
        outside.settimeout(None)
        said = b""
        with contextlib.suppress(ConnectionError):
            said = outside.recv(len(WELL_DONE))
        if not said:
            _tidy(path)


def _tidy(path: str) -> None:
    shutil.rmtree(Path(path).parent, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
