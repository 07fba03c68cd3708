"""Child processes: they end when we stop them, when they will not listen, and when we are killed."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from lab.children import Children
from lab.errors import StartError

FOR_EVER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(1000)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(1000)",
]


def has_ended(pid: int, *, within_s: float = 20.0) -> bool:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    ended = bool(poll.poll(within_s * 1000))
    os.close(pidfd)
    return ended


def test_stop_ends_all_and_reaps_them(tmp_path: Path) -> None:
    """After ``stop`` no process is left, not even a zombie."""
    children = Children(tmp_path)
    pids = [children.start(f"child-{number}", FOR_EVER).process.pid for number in range(3)]
    children.stop()

    assert [Path(f"/proc/{pid}").exists() for pid in pids] == [False] * 3
    assert children.all == []


def test_who_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that ignores SIGTERM gets its grace, then SIGKILL."""
    monkeypatch.setattr("lab.children.GRACE_S", 0.1)
    children = Children(tmp_path)
    child = children.start("deaf", DEAF)
    while b"up" not in child.log.read_bytes():
        select.select([], [], [], 0.01)
    children.stop()

    assert child.process.returncode == -signal.SIGKILL


def test_a_killed_parent_takes_its_children_with_it(tmp_path: Path) -> None:
    """``kill -9`` of the lab: it can clean up nothing, and still the kernel leaves no child."""
    parent = textwrap.dedent(f"""
        import pathlib, time
        from lab.children import Children
        child = Children(pathlib.Path({str(tmp_path)!r})).start("child", {FOR_EVER!r})
        print(child.process.pid, flush=True)
        time.sleep(1000)
    """)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()

    assert has_ended(pid)


async def test_a_death_is_noticed(tmp_path: Path) -> None:
    """The first child that ends by itself is told, with what it said last."""
    children = Children(tmp_path)
    try:
        children.start("lives", FOR_EVER)
        children.start("dies", [sys.executable, "-c", "print('one'); print('cannot bind'); raise SystemExit(3)"])
        dead = await children.first_death()

        assert (dead.name, dead.process.wait(), dead.last_words(lines=1)) == ("dies", 3, "cannot bind")
    finally:
        children.stop()


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The message says which part and which program."""
    with pytest.raises(StartError, match=r"envoy: cannot start /nowhere/envoy: No such file"):
        Children(tmp_path).start("envoy", ["/nowhere/envoy"])


def test_memory_is_counted(tmp_path: Path) -> None:
    """A Python process has a few MiB of its own; a child that has ended has none."""
    children = Children(tmp_path)
    try:
        child = children.start("child", FOR_EVER)
        while b"up" not in child.log.read_bytes():
            select.select([], [], [], 0.01)
        assert 2**20 < children.memory_bytes() < 2**30
    finally:
        children.stop()
    assert children.memory_bytes() == 0
