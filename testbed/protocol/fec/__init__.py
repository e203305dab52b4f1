"""Forward error correction: erasure codes over packets and frames, and how much of them."""
