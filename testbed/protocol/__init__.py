"""Pure building blocks of an endpoint: RTP/RTCP bytes, pacing, retransmission, rate control."""
