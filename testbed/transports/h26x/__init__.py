"""H.264, H.265 and H.266 over RTP with retransmission and key-frame recovery."""
