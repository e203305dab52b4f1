"""Scenarios, suites and run folders."""
