"""Morphe over RTP: token packets, hybrid loss handling, playout of whole groups of pictures."""
