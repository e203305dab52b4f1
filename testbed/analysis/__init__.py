"""Metrics, statistics, figures and reports over run folders."""
