"""Where a container's network is, and how to open a socket inside it without moving this process there.

A socket belongs for life to the namespace in which it was made, so a thread enters the namespace, opens what is asked
for and ends; the sockets are then used from anywhere. Needs CAP_SYS_ADMIN for setns(2), and CAP_SYS_PTRACE to open
``/proc/PID/ns/net`` of a process with more capabilities than ours.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from enforcer.errors import EnforcerError, NotPermittedError, UnsupportedError, VanishedError
from mesh.topology import Container

CLONE_NEWNET = 0x40000000  # linux/sched.h

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ContainerNetwork:
    """A network namespace, and which part of it is the container's.

    Parameters
    ----------
    namespace:
        The file of the namespace: ``/proc/PID/ns/net`` or ``/run/netns/NAME``.
    addresses:
        The container's own IP addresses where it shares the namespace with others (host network, the lab);
        empty where the whole namespace is its own.
    """

    namespace: Path
    addresses: Collection[str] = field(default=frozenset())


NetworkOf = Callable[[Container], ContainerNetwork | None]
"""Finds the network of a container; None where it is not on this node."""


def open_inside(namespace: Path, open_socket: Callable[[], T]) -> T:
    """Return what ``open_socket`` returns when called inside ``namespace``; this thread stays where it is.

    Raises
    ------
    VanishedError, NotPermittedError, UnsupportedError
        as the kernel refuses to enter, or whatever of these ``open_socket`` meets.
    """
    outcome: list[T] = []
    failure: list[OSError | EnforcerError] = []

    def enter_and_open() -> None:
        try:
            _enter(namespace)
            outcome.append(open_socket())
        except (OSError, EnforcerError) as error:
            failure.append(error)

    thread = threading.Thread(target=enter_and_open, name=f"netns {namespace}")
    thread.start()
    thread.join()
    if not failure:
        return outcome[0]
    if isinstance(failure[0], EnforcerError):
        raise failure[0]
    raise as_enforcer_error(failure[0], f"network namespace {namespace}") from failure[0]


def _enter(namespace: Path) -> None:
    # os.setns exists from Python 3.12 on; pyroute2's setns creates a namespace that does not exist.
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    finally:
        os.close(descriptor)


def as_enforcer_error(error: OSError, subject: str) -> EnforcerError:
    """Return ``error`` as the error of this room that says what to do about it."""
    text = f"{subject}: {error.strerror or error}"
    if error.errno in (errno.ENOENT, errno.ESRCH, errno.ENODEV):
        return VanishedError(text)
    if error.errno in (errno.EPERM, errno.EACCES):
        return NotPermittedError(f"{text}; needs CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_NET_ADMIN and CAP_NET_RAW")
    return UnsupportedError(text)
