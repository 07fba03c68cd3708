"""What this room raises; one base class, one subclass for each thing that the caller should do."""

from __future__ import annotations


class EnforcerError(Exception):
    """Base of all errors of this room."""


class UnreadableAnswerError(EnforcerError):
    """The kernel's answer does not have the shape that its documentation gives: drop it and count it."""


class NotPermittedError(EnforcerError):
    """The process lacks a capability: use another way, or start the agent with what the message names."""


class UnsupportedError(EnforcerError):
    """This kernel does not offer the interface: use another way."""


class VanishedError(EnforcerError):
    """The container or its process is gone: forget it."""
