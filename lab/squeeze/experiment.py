"""The experiment: calm, then a hog, then the same hog with the agent; what each request took, and what each may use."""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lab.children import Child, Children
from lab.errors import StartError, WireError
from lab.http_wire import ClientPool
from lab.scratch import scratch_directory
from lab.squeeze.groups import cores_allowed, enter, own_groups
from lab.squeeze.server import PLANNED

SERVERS = ("front", "back")
HOG = "hog"
DEADLINE_S = 10.0
READY_S = 15.0
LIMITS_EVERY_S = 0.5
PHASES = ("calm", "hog", "hog + agent")


@dataclass(frozen=True, slots=True)
class SqueezeSettings:
    """What is run.

    ``lengths_s`` are the three phases; each server gets ``requests_per_s`` of ``service_ms`` CPU time each; the hog is
    ``hog_processes`` busy loops.
    """

    strategy: str = "askew"
    target_ms: float = 40.0
    service_ms: float = 5.0
    requests_per_s: float = 75.0
    hog_processes: int = 8
    lengths_s: tuple[float, float, float] = (10.0, 15.0, 40.0)
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Answered:
    """One request: when it was planned (seconds since the start), and how long it took; infinite where it failed."""

    server: str
    planned_s: float
    took_ms: float


@dataclass(frozen=True, slots=True)
class Limit:
    """What a group was allowed at an instant; None: no limit."""

    group: str
    time_s: float
    cores: float | None


@dataclass(slots=True)
class Squeezed:
    """All that was seen. ``phase_ends_s`` since the start; the agent's CPU since it was ready, and before."""

    settings: SqueezeSettings
    requests: list[Answered] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)
    phase_ends_s: list[float] = field(default_factory=list)
    agent_cpu_percent: float = 0.0
    agent_start_cpu_s: float = 0.0
    agent_log: str = ""


def squeeze(settings: SqueezeSettings, *, say: Callable[[str], None]) -> Squeezed:
    """Run the experiment on this machine. Raises StartError where it cannot be run."""
    if os.geteuid() != 0:
        raise StartError("control groups of our own need root")
    with scratch_directory() as directory, own_groups((*SERVERS, HOG)) as group:
        children = Children(directory)
        try:
            return asyncio.run(_run(settings, children, directory, group, say))
        finally:
            children.stop()


async def _run(
    settings: SqueezeSettings, children: Children, directory: Path, group: str, say: Callable[[str], None]
) -> Squeezed:
    ports = dict(zip(SERVERS, _free_ports(len(SERVERS)), strict=True))
    for name, port in ports.items():
        command = [sys.executable, "-P", "-m", "lab.squeeze.server", str(port), str(settings.service_ms)]
        enter(f"{group}/{name}", children.start(name, command).process.pid)
    await asyncio.gather(*(_ready(port) for port in ports.values()))
    seen = Squeezed(settings)
    started_s = time.monotonic()
    load = [
        asyncio.create_task(_load(seen, name, port, started_s), name=f"load-{name}") for name, port in ports.items()
    ]
    load.append(asyncio.create_task(_watch(seen, group, started_s), name="limits"))
    try:
        say("calm: two servers and nobody beside them")
        await _phase(seen, settings.lengths_s[0], started_s)
        say(f"a hog of {settings.hog_processes} processes comes")
        for number in range(settings.hog_processes):
            hog = children.start(f"hog-{number}", [sys.executable, "-c", "while True: pass"])
            enter(f"{group}/{HOG}", hog.process.pid)
        await _phase(seen, settings.lengths_s[1], started_s)
        say(f"the agent comes ({settings.strategy})")
        agent = _start_agent(settings, children, directory, group, ports)
        came_s = time.monotonic()
        await _until_ready(agent)
        seen.agent_start_cpu_s, began_s = _cpu_s(agent), time.monotonic()
        await _phase(seen, settings.lengths_s[2] - (began_s - came_s), started_s)
        if agent.process.poll() is not None:
            raise StartError(f"the agent ended: {agent.last_words()}")
        used_s = _cpu_s(agent) - seen.agent_start_cpu_s
        seen.agent_cpu_percent = 100.0 * used_s / (time.monotonic() - began_s)
        seen.agent_log = agent.log.read_text(errors="replace")
    finally:
        for task in load:
            task.cancel()
        await asyncio.gather(*load, return_exceptions=True)
    return seen


def _start_agent(
    settings: SqueezeSettings, children: Children, directory: Path, group: str, ports: dict[str, int]
) -> Child:
    containers = [
        {
            "name": name,
            "cgroup": f"{group}/{name}",
            "class": "latency-critical",
            "target_ms": settings.target_ms,
            "latency": f"http://127.0.0.1:{port}/metrics",
        }
        for name, port in ports.items()
    ]
    containers.append({"name": HOG, "cgroup": f"{group}/{HOG}", "class": "best-effort"})
    file = directory / "containers.json"
    file.write_text(json.dumps(containers))
    where = ["--containers", str(file), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    environment = {
        **os.environ,
        "ASKEW_AGENT_STRATEGY": settings.strategy,
        "ASKEW_AGENT_RESOURCES": "cpu",
    }
    return children.start("agent", [sys.executable, "-P", "-m", "askew", "enforce", *where], environment=environment)


async def _until_ready(agent: Child) -> None:
    """Wait until the agent's log says that it listens, a few seconds at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(READY_S):
            while "ready: " not in agent.log.read_text(errors="replace"):  # noqa: ASYNC110 - another process's file
                await asyncio.sleep(0.05)


async def _phase(seen: Squeezed, length_s: float, started_s: float) -> None:
    await asyncio.sleep(length_s)
    seen.phase_ends_s.append(time.monotonic() - started_s)


async def _load(seen: Squeezed, name: str, port: int, started_s: float) -> None:
    """Send on a Poisson schedule until cancelled, whatever the answers do."""
    rng = random.Random(f"{seen.settings.seed} {name}")
    pool, under_way = ClientPool("127.0.0.1", port), set[asyncio.Task[None]]()
    planned_s = time.monotonic()
    try:
        while True:
            planned_s += rng.expovariate(seen.settings.requests_per_s)
            await asyncio.sleep(planned_s - time.monotonic())
            task = asyncio.create_task(_send(seen, name, pool, planned_s, started_s))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        pool.close()


async def _send(seen: Squeezed, name: str, pool: ClientPool, planned_s: float, started_s: float) -> None:
    took_ms = float("inf")
    try:
        headers = {PLANNED: str(int(planned_s * 1e9))}
        response = await pool.get("/", authority=name, headers=headers, deadline_s=DEADLINE_S)
        took_ms = float(response.body)
    except (WireError, OSError, TimeoutError):
        pass  # infinite: it counts as beyond every target
    seen.requests.append(Answered(name, planned_s - started_s, took_ms))


async def _watch(seen: Squeezed, group: str, started_s: float) -> None:
    while True:
        now_s = time.monotonic() - started_s
        seen.limits += [Limit(name, now_s, cores_allowed(f"{group}/{name}")) for name in (*SERVERS, HOG)]
        await asyncio.sleep(LIMITS_EVERY_S)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


async def _ready(port: int) -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.05)
    raise StartError(f"no server on port {port} after {READY_S:g} s")


def _cpu_s(child: Child) -> float:
    fields = Path(f"/proc/{child.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def phase_of(seen: Squeezed, time_s: float) -> int:
    """Return which phase an instant lies in."""
    return next((index for index, end_s in enumerate(seen.phase_ends_s) if time_s < end_s), len(PHASES) - 1)


def percentile(values: Sequence[float], part: float) -> float:
    """Return the value that ``part`` per cent do not exceed; NaN without values.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 50.0)
    2.0
    """
    ordered = sorted(values)
    if not ordered:
        return float("nan")
    return ordered[max(0, math.ceil(len(ordered) * part / 100.0) - 1)]
