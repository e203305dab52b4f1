"""RTP payload types of our streams: dynamic numbers (RFC 3551 section 3).

They differ between schemes so that a capture shows which is which. The second of each pair
is of the retransmissions of the first (RFC 4588), on an SSRC of their own; H.26x's repair packets
(`testbed.protocol.fec`) have a third, on the SSRC after that.
"""

from __future__ import annotations

from typing import Final

H26X_MEDIA: Final = 96
H26X_RTX: Final = 97
MORPHE_MEDIA: Final = 98
MORPHE_RTX: Final = 99
H26X_FEC: Final = 100
GRACE_MEDIA: Final = 104
GRACE_RTX: Final = 105
#: Codecs of which only the sizes are known (`testbed.transports.sized`).
SIZED_MEDIA: Final = 110
SIZED_RTX: Final = 111
