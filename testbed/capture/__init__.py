"""Captures: packets of sessions as pcapng files, and what can be read out of any capture.

`tap` is what a world hands its datagrams to, `pcapng` writes and reads the file, `replay` gives
back what arrived. `inspect` sums up RTP in captures of whatever origin, `qlog` turns a run's tables
into an event log, and `scapy` and `morphe.lua` teach two other tools our formats.
"""
