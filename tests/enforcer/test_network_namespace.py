"""Entering a namespace: what the kernel's refusals mean, and that this process stays where it is."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from enforcer.errors import EnforcerError, NotPermittedError, UnsupportedError, VanishedError
from enforcer.measuring_thread import run_in_thread
from enforcer.network_namespace import as_enforcer_error, open_inside
from tests.real.network_namespaces import missing, two_hosts


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (errno.ENOENT, VanishedError),
        (errno.ESRCH, VanishedError),
        (errno.EPERM, NotPermittedError),
        (errno.EACCES, NotPermittedError),
        (errno.EINVAL, UnsupportedError),
        (errno.EAFNOSUPPORT, UnsupportedError),
    ],
)
def test_an_errno_says_what_to_do(code: int, error: type[EnforcerError]) -> None:
    """Forget it, ask for capabilities, or take another way; the subject is in the message."""
    found = as_enforcer_error(OSError(code, os.strerror(code)), "netns of cart-0")
    assert type(found) is error
    assert "netns of cart-0" in str(found)


def test_a_namespace_that_is_gone_has_vanished(tmp_path: Path) -> None:
    """Nothing is opened."""
    with pytest.raises(VanishedError):
        open_inside(tmp_path / "gone", lambda: None)


@pytest.mark.root
@pytest.mark.skipif(bool(missing()), reason=missing() or "-")
def test_only_the_opening_thread_is_inside() -> None:
    """The function runs in the other namespace, the caller stays in its own."""
    here = os.readlink("/proc/thread-self/ns/net")
    with two_hosts() as (host, _):
        inside = open_inside(host.namespace, lambda: os.readlink("/proc/thread-self/ns/net"))
    assert inside != here
    assert os.readlink("/proc/thread-self/ns/net") == here


async def test_work_runs_in_a_thread_of_its_own_name_and_its_cost_is_known() -> None:
    """The result and the processor time come back together."""
    ran = await run_in_thread("measuring", lambda _: (threading.current_thread().name, sum(range(100_000))))
    assert ran.result[0].startswith("measuring")
    assert ran.cpu_s > 0.0


async def test_an_error_of_the_work_is_the_callers() -> None:
    """Nothing is swallowed on the way out of the thread."""

    def fail(_: threading.Event) -> None:
        raise VanishedError("gone")

    with pytest.raises(VanishedError):
        await run_in_thread("measuring", fail)
