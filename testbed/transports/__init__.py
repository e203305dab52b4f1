"""Transports: one folder a scheme, a Sender and a Receiver each."""
