"""Errors of the testbed.

Every message is one line that names the file, the field and the allowed values. The command
line prints it and exits with `exit_code`; nothing below `testbed.cli` prints or exits.
"""

from __future__ import annotations


class TestbedError(Exception):
    """Base of all our errors; never raised itself."""

    __test__ = False  # keep pytest from collecting it
    exit_code = 1


class InputError(TestbedError):
    """The user's input cannot be used (file, field, value)."""

    exit_code = 2


class ScenarioError(InputError):
    """A scenario file is wrong; the message carries file, line and field."""


class TraceError(InputError):
    """A trace file or trace specification is wrong."""


class ClipError(InputError):
    """A clip is missing, unreadable, empty or unsupported."""


class UnknownNameError(InputError):
    """A registry holds no such name; the message lists the known ones."""


class OutputError(InputError):
    """The output folder cannot be used (a file in the way, disk full, no permission)."""


class ToolMissingError(InputError):
    """An outside tool is not there; the message says how to get it."""


class ToolFailedError(TestbedError):
    """An outside tool ran and failed; the message carries its last line of stderr."""


class BrokenLogError(InputError):
    """A run folder does not hold what a run folder must hold."""


class ProtocolViolationError(TestbedError):
    """Base of protocol errors; raised as one of the two below."""


class LocalProtocolError(ProtocolViolationError):
    """Our own caller broke the contract; state is left as it was."""


class RemoteProtocolError(ProtocolViolationError):
    """Bytes from the network are not what the protocol allows."""
