"""`grace-style`: a neural P-frame codec over RTP, in the manner of GRACE (NSDI 2024)."""
