"""Trace models: regime-switching capacity with explicit outages, fitted to real traces.

`model` holds the parameters and draws traces, `fitting` estimates the parameters from files,
`validation` compares what is drawn with files that were not used. Why this model and not another:
docs/decisions/0003-trace-models.md.
"""
