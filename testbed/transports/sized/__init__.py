"""Codecs of which it is known what they send, and no more: sizes, structure, waiting, loss."""
