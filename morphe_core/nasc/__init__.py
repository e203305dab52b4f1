"""Network-Adaptive Streaming Controller (paper, section 6)."""
