"""Sessions in real time: the endpoints around real sockets, the relay, real mahimahi."""
