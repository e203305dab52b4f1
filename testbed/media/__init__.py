"""Clips in, frames out: reading, encoding, decoding and picture quality."""
