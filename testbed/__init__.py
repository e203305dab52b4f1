"""Trace-driven testbed for loss-resilient generative video streaming."""

__version__ = "0.1.0"
