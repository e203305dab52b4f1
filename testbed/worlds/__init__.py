"""Worlds: the only floor with clocks, sockets and processes."""
