"""Queue disciplines by name: `infinite`, `droptail`, `drophead`, `codel`, `pie`."""

from testbed.network.queues import aqm  # noqa: F401  (registers itself, as fifo does)
from testbed.network.queues.base import (
    QUEUES,
    Discipline,
    describe_queue,
    make_queue,
    parse_queue,
    require_limit,
)
from testbed.network.queues.fifo import DropHead, DropTail

__all__ = [
    "QUEUES",
    "Discipline",
    "DropHead",
    "DropTail",
    "describe_queue",
    "make_queue",
    "parse_queue",
    "require_limit",
]
