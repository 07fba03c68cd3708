"""A file that a loop touches, and the probe that asks it: what hangs is seen, what runs is left alone."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import askew.node_agent as node_agent
from askew.__main__ import main
from askew.alive_file import is_alive, toucher
from askew.errors import CommandError
from askew.node_agent import EnforceSettings, NodeAgentProcess, NodeChoice
from askew.settings import compose_over
from tests.fakes.agent_service import recorded_host


def probe(file: Path, limit_s: str = "60") -> int:
    """Return the exit code of the probe as a kubelet runs it."""
    command = [sys.executable, "-m", "askew.alive_file", str(file), limit_s]
    return subprocess.run(command, stderr=subprocess.DEVNULL, timeout=60, check=False).returncode


def test_the_probe_fails_for_a_file_that_is_old_or_not_there(tmp_path: Path) -> None:
    """Fresh is 0, all else 1; a clock that was set back is no reason to believe a file for hours."""
    file = tmp_path / "alive"
    assert probe(file) == 1
    toucher(str(file))()
    assert probe(file) == 0
    for away_s in (-7200.0, 7200.0):
        os.utime(file, times=(time.time() + away_s,) * 2)
        assert probe(file) == 1


@pytest.mark.parametrize(("age_s", "alive"), [(0.0, True), (60.0, True), (60.5, False), (-61.0, False)])
def test_the_limit_is_the_age_in_either_direction(tmp_path: Path, age_s: float, alive: bool) -> None:
    """To the limit, and no further."""
    file = tmp_path / "alive"
    file.touch()
    os.utime(file, times=(1000.0, 1000.0))

    assert is_alive(str(file), limit_s=60.0, now_s=1000.0 + age_s) is alive


def test_a_file_that_cannot_be_is_bad_input_and_one_that_goes_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At the start it is refused; later what is watched must not end because of it."""
    folder = tmp_path / "run"
    with pytest.raises(CommandError, match=r"^--alive .*alive: No such file or directory, allowed: a file that can"):
        toucher(str(folder / "alive"))
    folder.mkdir()
    touch = toucher(str(folder / "alive"))
    (folder / "alive").unlink()
    folder.rmdir()
    touch()
    touch()

    assert len(caplog.records) == 1


@pytest.mark.usefixtures("logging_as_before")
def test_the_watchdog_refuses_such_a_file_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Before it connects to anything."""
    assert main(["watchdog", "--kubernetes", "--alive", "/nonexistent/alive"]) == 2

    assert capsys.readouterr().err.startswith("--alive /nonexistent/alive: ")


@pytest.mark.parametrize("role", ["all", "network"])
async def test_a_node_agent_whose_writer_hangs_is_seen(
    role: node_agent.Role, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It touches its file only after the writer's thread has answered; that answers again, and so does the file."""
    monkeypatch.setattr(node_agent, "HOUSEKEEPING_S", 0.0)
    monkeypatch.chdir(recorded_host(tmp_path))  # a socket's path has 107 bytes at most
    alive, ready = tmp_path / "alive", asyncio.Event()
    process = NodeAgentProcess(NodeChoice("n1", role=role, host_root=".", alive_file=str(alive)), quiet())
    touched, at_a_touch = 0, asyncio.Event()

    def touch() -> None:
        nonlocal touched
        touched += 1
        at_a_touch.set()

    assert alive.exists()
    process.touch = touch
    running = asyncio.create_task(process.run(on_ready=ready.set))
    await ready.wait()
    await at_a_touch.wait()
    began, release = threading.Event(), threading.Event()
    hanging = asyncio.create_task(process.writer.run(lambda: (began.set(), release.wait())))
    await asyncio.to_thread(began.wait)
    for _ in range(100):
        await asyncio.sleep(0)
    before = touched
    for _ in range(1000):
        await asyncio.sleep(0)
    stood = touched == before
    at_a_touch.clear()
    release.set()
    await hanging
    await at_a_touch.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert stood


def quiet() -> EnforceSettings:
    """Return settings of an agent that takes free ports and divides nothing."""
    environment = {"ASKEW_API_PORT": "0", "ASKEW_HTTP_PORT": "0", "ASKEW_AGENT_STRATEGY": "none"}
    return compose_over(EnforceSettings(), file_text=None, environment=environment)
