"""What this room raises; one base class, one subclass for each thing that the caller should do."""

from __future__ import annotations

import errno
import os

from mesh.errors import one_line


class EnforcerError(Exception):
    """Base of all errors of this room; the message is one line."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class WriterBusyError(EnforcerError):
    """Another process is this host's writer: try again when it has ended."""


class StaleGenerationError(EnforcerError):
    """The action set is older than one that was applied: drop it."""

    def __init__(self, found: int, newest: int) -> None:
        self.found, self.newest = found, newest
        super().__init__(f"generation: found {found}, allowed: {newest} or newer")


class StaleListError(EnforcerError):
    """The list of containers is older than the one in force, or as new and another: drop it."""

    def __init__(self, found: int, newest: int) -> None:
        self.found, self.newest = found, newest
        allowed = f"newer than {newest}" if found == newest else f"{newest} or newer"
        super().__init__(f"generation: found {found}{' with another list' * (found == newest)}, allowed: {allowed}")


class ListNotKeptError(EnforcerError):
    """The list of containers cannot be written to the state directory: the one in force stays; tell it again."""


class UnknownContainerError(EnforcerError):
    """No container of this host has that name: nothing is written."""

    def __init__(self, path: str, name: str) -> None:
        self.path, self.name = path, name
        super().__init__(f"{path}: found {name!a}, allowed: a container of this host")


class JournalError(EnforcerError):
    """The journal cannot be read or written: stop, and write nothing to the kernel."""


class KernelRefusalError(EnforcerError):
    """The kernel did not take a value; everything that was written with it has been taken back.

    Parameters
    ----------
    path, value:
        What was written where.
    number:
        The errno, 0 where the kernel took the value and then holds another one.
    detail:
        What the kernel says besides (resctrl's ``last_cmd_status``, or the value that it holds).
    """

    def __init__(self, path: str, value: str | None, number: int, detail: str = "") -> None:
        self.path, self.value, self.number, self.detail = path, value, number, detail
        reason = (
            f"{errno.errorcode.get(number, number)} ({os.strerror(number)})" if number else "read back another value"
        )
        super().__init__(f"{path}: {value!a}: {reason}" + (f": {detail}" if detail else ""))


class UnreadableAnswerError(EnforcerError):
    """The kernel's answer does not have the shape that its documentation gives: drop it and count it."""


class NotPermittedError(EnforcerError):
    """The process lacks a capability: use another way, or start the agent with what the message names."""


class UnsupportedError(EnforcerError):
    """This kernel does not offer the interface: use another way."""


class VanishedError(EnforcerError):
    """The container or its process is gone: forget it."""


class BadAgentSettingsError(EnforcerError):
    """A setting of the agent cannot be used: end with exit code 2."""


class CannotListenError(EnforcerError):
    """An address is not to be had: end with exit code 1."""


class LatencyUnreadableError(EnforcerError):
    """A container's latency cannot be read now, or not from this page: go on without it, and say why."""


class PeerRefusesError(EnforcerError):
    """The agent's other role refuses a request that it does not understand, or of a container that it does not know."""


class PeerUnavailableError(EnforcerError):
    """The agent's other role does not answer: what it alone can do is unsupported for now."""
