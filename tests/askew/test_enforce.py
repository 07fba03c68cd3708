"""``askew enforce`` as a process on a recorded host: pages, bad input, SIGTERM, and no trace after a kill -9."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from askew.__main__ import main
from enforcer.proto import node_agent_pb2 as pb
from tests.fakes.agent_service import SERVICE, recorded_host
from tests.fakes.recorded_tree import read_tree

CONTAINERS = [
    {"name": "web", "cgroup": "web", "class": "latency-critical", "target_ms": 10},
    {"name": "batch", "cgroup": "batch", "class": "best-effort"},
]


@dataclass(slots=True)
class Process:
    """A running agent and what it listens on."""

    process: subprocess.Popen[str]
    grpc_port: int
    http_port: int
    log: list[str] = field(default_factory=list)

    def page(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=5) as response:
            return str(response.read().decode())

    def json(self, path: str) -> Any:
        return json.loads(self.page(path))

    def apply(self, cores: float) -> pb.ApplyResponse:
        action = pb.Action(container="web", resource="cpu", number=cores, unit="cores")
        request = pb.ApplyRequest(generation=1, ttl_s=60, actions=[action])
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
            answer = channel.unary_unary(SERVICE + "Apply")(request.SerializeToString(), timeout=5)
        return pb.ApplyResponse.FromString(answer)


def command(host: Path, *more: str) -> list[str]:
    where = ("--host-root", str(host), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")
    return [sys.executable, "-m", "askew", "enforce", *where, *more]


@contextmanager
def running(host: Path, *more: str, environment: dict[str, str] | None = None) -> Iterator[Process]:
    """Start an agent, wait until it is ready, and end it however the block left it."""
    containers = host.parent / "containers.json"
    containers.write_text(json.dumps(CONTAINERS))
    process = subprocess.Popen(
        command(host, "--containers", str(containers), *more),
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    log: list[str] = []
    try:
        assert process.stderr is not None
        for line in process.stderr:
            log.append(line)
            ready = re.search(r"ready: .* grpc on port (\d+), http on (\d+)", line)
            if ready:
                break
        else:
            pytest.fail("".join(log))
        yield Process(process, int(ready[1]), int(ready[2]), log)
    finally:
        process.kill()
        _, rest = process.communicate(timeout=10)
        log.extend(rest.splitlines())


@pytest.fixture
def host(tmp_path: Path) -> Path:
    return recorded_host(tmp_path)


NONE = {"ASKEW_AGENT_STRATEGY": "none"}


def test_it_answers_and_gives_everything_back_on_sigterm(host: Path) -> None:
    """Health, metrics, status and the API answer; SIGTERM ends with exit code 0 and the host as it was."""
    before = read_tree(host)
    with running(host, environment=NONE) as agent:
        applied = agent.apply(0.5).results[0].outcome
        status, metrics = agent.json("/debug/statusz"), agent.page("/metrics")
        ready = agent.page("/readyz")
        during = read_tree(host)
        agent.process.send_signal(signal.SIGTERM)
        code = agent.process.wait(timeout=10)

    assert (applied, ready, code) == (pb.APPLIED, "ok\n", 0)
    assert [action["value"] for action in status["actions"]] == [0.5]
    assert 'askew_enforcer_actions_total{resource="cpu",result="applied"} 1.0' in metrics
    assert (during != before, read_tree(host)) == (True, before)


def test_after_a_kill_the_next_agent_adopts_what_was_committed(host: Path) -> None:
    """kill -9: the lease lives on in the journal, the next agent holds it, and its SIGTERM gives it back."""
    before = read_tree(host)
    with running(host, environment=NONE) as agent:
        agent.apply(0.5)
        agent.process.send_signal(signal.SIGKILL)
        agent.process.wait(timeout=10)
    killed = read_tree(host)
    with running(host, environment=NONE) as agent:
        adopted = [action["value"] for action in agent.json("/debug/statusz")["actions"]]
        agent.process.send_signal(signal.SIGTERM)
        agent.process.wait(timeout=10)

    assert (killed != before, adopted, read_tree(host)) == (True, [0.5], before)


def test_the_loop_divides_from_the_start(host: Path) -> None:
    """With a strategy the agent takes over the listed containers at once: equal shares of 8 CPUs."""
    with running(host, environment={"ASKEW_AGENT_RESOURCES": "cpu", "ASKEW_AGENT_TICK_S": "0.05"}) as agent:
        loop = agent.json("/debug/loopz")
        while not loop["containers"] or not loop["containers"][0]["held"]:
            loop = agent.json("/debug/loopz")

    assert [one["name"] for one in loop["containers"]] == ["web", "batch"]
    assert loop["containers"][0]["unreadable"] == "no page of its latency is given"


def test_a_dry_run_writes_nothing(host: Path) -> None:
    """Not a value, not a lock, not a journal."""
    before = sorted(host.rglob("*")), read_tree(host)
    with running(
        host, "--dry-run", environment={"ASKEW_AGENT_RESOURCES": "cpu", "ASKEW_AGENT_TICK_S": "0.05"}
    ) as agent:
        while agent.json("/debug/loopz")["steps"] < 3:
            pass
        assert agent.json("/debug/statusz")["dry_run"] is True

    assert (sorted(host.rglob("*")), read_tree(host)) == before


@pytest.mark.parametrize(
    ("more", "environment", "said"),
    [
        (["--grpc", "0.0.0.0:0"], {}, "api.host"),
        (["--containers", "/nowhere.json"], {}, "/nowhere.json"),
        ([], {"ASKEW_AGENT_STRATEGY": "magic"}, "agent.strategy: found 'magic'"),
        ([], {"ASKEW_AGENT_RESOURCES": "cpu,gpu"}, "agent.resources: found 'gpu', allowed: auto, or of cpu, cpuset"),
        ([], {"ASKEW_API_PORT": "99999"}, "ASKEW_API_PORT: found '99999', allowed: a port from 0 to 65535"),
        ([], {"ASKEW_API_CERTIFICATE_FILE": "/x"}, "api.key_file, api.client_ca_file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    host: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    more: list[str],
    environment: dict[str, str],
    said: str,
) -> None:
    """Nothing starts on a setting that cannot be meant, and nobody sees a traceback."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    code = main([*command(host)[3:], *more])
    (line,) = capfd.readouterr().err.splitlines()

    assert (code, said in line) == (2, True)


def test_what_a_node_lacks_is_said_after_what_it_has(
    host: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The log has told by then what the node can do; the last line says what is missing."""
    monkeypatch.setenv("ASKEW_AGENT_RESOURCES", "cache")

    assert main(command(host)[3:]) == 2
    assert "agent.resources: found 'cache', allowed: what this node has" in capfd.readouterr().err.splitlines()[-1]
