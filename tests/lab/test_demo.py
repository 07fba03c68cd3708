"""The demo itself, with real Envoys: what it measures, and that nothing is left of it, however it ends."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.topology_file import names
from tests.lab.command_line import ROOT, askew_lab, environment, left_of

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _needs_envoy(envoy: Path) -> None:
    """Skip with the reason where Envoy is not installed."""


@pytest.mark.parametrize("app", names())
def test_local_first_comes_near_the_bound_and_loses_no_request(tmp_path: Path, app: str) -> None:
    """Equal shares cross nodes far more often than they must; local-first is near the least possible, live, for free.

    The tolerance is wide because 5 s of Poisson arrivals are not quite the rates that the plan was made for.
    """
    ended = askew_lab("demo", "--app", app, "--seconds", "5", "--json", str(tmp_path / "demo.json"), temporary=tmp_path)
    assert ended.returncode == 0, ended.stderr
    report = json.loads((tmp_path / "demo.json").read_text())
    before, after, bound = report["before"], report["after"], report["lower_bound_cross_node_request_share"]

    assert (before["failed"], report["between"]["failed"], after["failed"]) == (0, 0, 0)
    assert after["cross_node_request_share"] < bound + 0.06
    assert before["cross_node_request_share"] > bound + 0.15
    assert after["connections"] < before["connections"]
    assert 0.0 < report["first_sidecar_s"] <= report["last_sidecar_s"]
    assert "local-first" in ended.stdout
    assert left_of(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["demo.json"]


@contextmanager
def mesh_up(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield a running ``askew lab up`` and what it has printed about itself."""
    command = [sys.executable, "-m", "askew", "lab", "up", "--app", "chain"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(tmp_path), cwd=ROOT
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("fourth-1"):
                break
        try:
            yield process, "".join(lines)
        finally:
            process.kill()


def wait_until_nothing_is_left(tmp_path: Path) -> list[str]:
    for _ in range(200):
        if not left_of(tmp_path):
            break
        select.select([], [], [], 0.05)
    return left_of(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C or SIGTERM: one line, the shell's exit code, no process and no file left."""
    with mesh_up(tmp_path) as (process, _):
        process.send_signal(number)
        _, stderr = process.communicate(timeout=30)

    assert process.returncode == 128 + number
    assert stderr.splitlines()[-1] == f"askew lab: ended by {number.name}"
    assert left_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_killed_lab_leaves_no_process(tmp_path: Path) -> None:
    """``kill -9``: nobody is asked, and still no Envoy, app or control plane outlives it."""
    with mesh_up(tmp_path) as (process, _):
        assert len(left_of(tmp_path)) > 10
        process.kill()
        process.wait(timeout=30)

    assert wait_until_nothing_is_left(tmp_path) == []


def test_a_part_that_dies_ends_the_run_with_one_line(tmp_path: Path) -> None:
    """A mesh that lost a process measures nothing: it is taken down, and the message names the dead."""
    with mesh_up(tmp_path) as (process, _):
        apps = _pid_of(tmp_path, "lab.apps")
        os.kill(apps, signal.SIGKILL)
        _, stderr = process.communicate(timeout=30)

    assert process.returncode == 1
    assert re.match(r"askew lab up: apps ended with code -9: .*", stderr.splitlines()[-1])
    assert left_of(tmp_path) == []


def _pid_of(temporary: Path, word: str) -> int:
    mark = f"TMPDIR={temporary}".encode()
    for folder in Path("/proc").iterdir():
        ours = folder.name.isdigit() and word.encode() in (folder / "cmdline").read_bytes()
        if ours and mark in (folder / "environ").read_bytes():
            return int(folder.name)
    raise AssertionError(f"no process {word}")
