"""Training of the network, on the codec core's packed windows."""
