"""A session between two ends in one process: its messages, its clocks, its end.

Network and clocks are variables: every datagram takes 20 ms there and 10 ms back, and the
receiver's clock is one hour ahead.
"""

from __future__ import annotations

import os

from testbed.protocol.session import (
    Ended,
    Initiator,
    Responder,
    ResponderState,
    Started,
    Synchronised,
)

MS = 1_000_000
THERE_NS, BACK_NS, AHEAD_NS = 20 * MS, 10 * MS, 3_600_000 * MS
KEY = os.urandom(16)


def main() -> None:
    """Run the session and print what either side is told."""
    sender = Initiator(KEY, {"transport": "h264"}, now_ns=0, token_bytes=os.urandom)
    receiver = Responder(
        KEY,
        now_ns=AHEAD_NS,
        token_bytes=os.urandom,
        accept=lambda offer: None if offer.get("transport") == "h264" else "unknown transport",
    )
    now_ns = 0
    while (timer_ns := sender.next_timer()) is not None:
        questions = sender.to_send(now_ns=now_ns)
        if not questions:  # nothing under way: sleep until the sender wants to be called
            now_ns = max(now_ns, timer_ns)
            sender.on_timer(now_ns=now_ns)
            continue
        for data in questions:
            receiver.receive(data, "sender", now_ns=now_ns + THERE_NS + AHEAD_NS)
        now_ns += THERE_NS
        for event in receiver.events():
            print(f"receiver: {event}")
            if isinstance(event, Ended) and receiver.state is ResponderState.CLOSING:
                receiver.finish({"frames_shown": 297})
        for _, data in receiver.to_send(now_ns=now_ns + AHEAD_NS):
            sender.receive(data, now_ns=now_ns + BACK_NS)
        now_ns += BACK_NS
        for event in sender.events():
            print(f"sender:   {event}")
            if isinstance(event, Synchronised):
                sender.start(now_ns + 500 * MS, now_ns=now_ns)
            if isinstance(event, Started):  # media would flow now
                sender.finish({"frames_sent": 300}, now_ns=now_ns)


if __name__ == "__main__":
    main()
