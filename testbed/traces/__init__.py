"""Traces: importers and exporters, the catalogue, generators, fitted models, statistics.

The one call that others need is `resolve`: from what a user writes in a scenario ("rail-proxy",
"constant:2000kbps", "my/traces/*.csv") to checked `Trace` values with their provenance.
"""

from testbed.traces.resolved import ResolvedTrace
from testbed.traces.specs import resolve

__all__ = ["ResolvedTrace", "resolve"]
