"""An endpoint's memory as its ICE socket saw it: one entry a datagram on the wire."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from testbed.worlds.realtime.lateness import Lateness
from testbed.worlds.realtime.records import PeerLog, Sent
from testbed.worlds.webrtc.wiretap import Wiretap, row


def on_the_wire(log: PeerLog, tap: Wiretap, epoch_ns: int) -> tuple[PeerLog, dict[str, Any]]:
    """The memory with wire datagrams in the place of messages, and facts about the difference.

    A datagram that carries a message takes over what the message is; its time, size and key are
    its own. Of a message in several pieces, the first one stands for the media in it.

    Args:
        log: the endpoint's, of messages.
        tap: of its socket.
        epoch_ns: start of the session.
    """
    wire: list[Sent] = []
    waits, overhead = Lateness(), Lateness()
    begun: set[int] = set()
    cut = 0
    for one in tap.departures(epoch_ns):
        number = one.about
        if not isinstance(number, int) or number >= len(log.sent):
            wire.append(row(one, epoch_ns))
            continue
        message, at_ns = log.sent[number], one.at_ns - epoch_ns
        carried = row(replace(one, about=message), epoch_ns)
        if number in begun:
            carried = replace(carried, media_bytes=0, token=-1, retransmission_of=-1)
            cut += 1
        else:
            begun.add(number)
            waits.add(at_ns - message.at_ns)
            overhead.add(one.size - message.size)
        wire.append(carried)
    facts = {
        "messages": len(log.sent),
        "messages_never_sent": len(log.sent) - len(begun),
        "pieces_beyond_the_first": cut,
        "sctp_wait": waits.facts(),
        "record_overhead_bytes": overhead.percentile_ns(50.0),
    }
    return replace(log, sent=wire, arrived=tap.arrivals(epoch_ns)), facts
