"""Bandwidth traces: formats, catalogue, statistics and trace models."""
