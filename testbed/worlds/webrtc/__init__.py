"""Sessions over WebRTC: two aiortc peers in two processes, and the relay between them."""
