"""One run of the comparison of imbalances: one policy, one mesh, an antagonist that comes and goes.

::

    time      warm-up │ before │ antagonist on         │ after
    speed         1   │    1   │ 1/3 for one container │   1
    figures           │ second by second, and of each phase; "settled" is the second half of the antagonist's time
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from lab.envoy_admin import admin_session
from lab.errors import LabError
from lab.load import LoadGenerator, Window
from lab.machine import cpu_time
from lab.mesh import LabMesh, MeshSettings, run_in_mesh
from lab.mesh_document import ROUTING
from lab.peers import PEERS
from lab.progress import Teller
from lab.topology_file import APP_PORT, parse_application
from lab.under_load import under_load
from mesh.topology import Container

ASKEW, DEAF = "askew", "askew-without-telemetry"
POLICIES = (*PEERS, ASKEW)
ALL_POLICIES = (*POLICIES, DEAF)
PHASES = ("before", "on", "settled", "after")
SLOW = "shop-0"
ENDPOINTS, WORKERS, SERVICE_MS = 6, 2, 25.0
CAPACITY_PER_S = ENDPOINTS * WORKERS * 1000.0 / SERVICE_MS
TOPOLOGY = """\
apiVersion: askew.lab/v1
nodes: [n1, n2, n3]
load:
  service: shop
  requests_per_s: {requests_per_s}
  mix: {{get: 1}}
  nodes: {{n1: 1, n2: 1, n3: 1}}
  containers: {clients_per_node}
services:
  - name: shop
    port: 8080
    workers: {workers}
    service_time: {{distribution: exponential, mean_ms: {service_ms}}}
    response_bytes: 500
    replicas: [{{nodes: {{n1: 2, n2: 2, n3: 2}}}}]
"""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What is the same in all runs of a comparison. Times in seconds, one after the other."""

    warm_up_s: int = 15  # client_side_weighted_round_robin believes an endpoint after 10
    before_s: int = 8
    on_s: int = 40
    after_s: int = 20
    slowdown: float = 3.0
    requests_per_s: float = 0.6 * CAPACITY_PER_S
    clients_per_node: int = 2
    tick_s: float = 1.0

    @property
    def topology(self) -> str:
        """The text of the topology file."""
        return TOPOLOGY.format(
            requests_per_s=self.requests_per_s,
            clients_per_node=self.clients_per_node,
            workers=WORKERS,
            service_ms=SERVICE_MS,
        )

    def phases_of(self, second: int) -> tuple[str, ...]:
        """Return the phases to which a second belongs; 0 is the first after the warm-up.

        >>> RunSettings(before_s=5, on_s=10).phases_of(11)
        ('on', 'settled')
        """
        if second < self.before_s:
            return ("before",)
        if second >= self.before_s + self.on_s:
            return ("after",)
        return ("on", "settled") if second >= self.before_s + self.on_s / 2.0 else ("on",)

    @property
    def seconds(self) -> int:
        return self.before_s + self.on_s + self.after_s


@dataclass(frozen=True, slots=True)
class Figures:
    """Of the requests that were planned in a second or a phase; of those that came, what part to which container."""

    requests: int
    failed: int
    p50_ms: float
    p99_ms: float
    slow_share: float
    busiest_share: float


@dataclass(frozen=True, slots=True)
class Run:
    """What one run has measured. ``cpu_busy_share`` is of the whole machine, whoever kept it busy."""

    policy: str
    repeat: int
    tick_s: float
    on_s: tuple[int, int]  # the antagonist's first second, and the first without it
    phases: dict[str, Figures]
    seconds: tuple[Figures, ...]
    failures: dict[str, int]
    cpu_busy_share: float


@dataclass(frozen=True, slots=True)
class _Second:
    window: Window
    arrived: dict[str, int]


async def run_once(policy: str, repeat: int, settings: RunSettings, progress: Teller) -> Run:
    """Bring a mesh up, measure, take it down. Raises LabError where a part of it fails; lost requests are counted."""
    with tempfile.TemporaryDirectory(prefix="askew-imbalance-") as folder:
        file, deaf = Path(folder) / "shop.yaml", Path(folder) / "deaf"
        file.write_text(settings.topology, encoding="utf-8")
        peer = ("--peer", policy) if policy in PEERS else ()
        mesh_settings = MeshSettings(
            application=parse_application(settings.topology, name="shop"),
            topology_file=file,
            annotations={ROUTING: "off" if policy in PEERS else "imbalance-aware"},
            control_plane=("lab.peer_plane", *peer, "--deaf-while", str(deaf)),
            tick_s=settings.tick_s,
            seed=repeat,
            say=progress.say,
        )
        scenario = _Scenario(policy, repeat, settings, progress, deaf)
        return await run_in_mesh(mesh_settings, scenario.run)


class _Scenario:
    """What happens in the mesh of one run."""

    def __init__(self, policy: str, repeat: int, settings: RunSettings, progress: Teller, deaf: Path) -> None:
        self._policy, self._repeat, self._settings, self._progress = policy, repeat, settings, progress
        self._deaf = deaf

    async def run(self, mesh: LabMesh) -> Run:
        settings, progress = self._settings, self._progress
        apps = Apps(mesh)
        async with admin_session() as session, under_load(mesh, seed=self._repeat) as generator:
            await progress.wait(f"{self._policy}, run {self._repeat}: warming up", settings.warm_up_s)
            cpu = cpu_time()
            progress.say(f"{self._policy}, run {self._repeat}: {settings.seconds} s of measuring")
            seconds = await self._seconds(apps, session, generator)
            busy = cpu_time().busy_share_since(cpu)
            for second in seconds:
                await generator.drain(second.window)
        return self._result(seconds, busy)

    async def _seconds(self, apps: Apps, session: aiohttp.ClientSession, generator: LoadGenerator) -> list[_Second]:
        settings = self._settings
        seconds: list[_Second] = []
        arrived = await apps.arrived(session)
        started_s = time.monotonic()
        for second in range(settings.seconds):
            window = generator.open_window(f"second {second}")
            await self._change(second, apps, session)
            await asyncio.sleep(max(0.0, started_s + second + 1 - time.monotonic()))
            now = await apps.arrived(session)
            came = {name: now[name] - arrived[name] for name in now}
            seconds.append(_Second(window, came))
            arrived = now
        generator.open_window("end")
        return seconds

    async def _change(self, second: int, apps: Apps, session: aiohttp.ClientSession) -> None:
        """Let the antagonist come and go, and telemetry die while it is there where that is what is shown."""
        settings = self._settings
        first, last = settings.before_s, settings.before_s + settings.on_s
        if second == first:
            await apps.set_speed(session, SLOW, 1.0 / settings.slowdown)
        if second == last:
            await apps.set_speed(session, SLOW, 1.0)
        if self._policy == DEAF and second == first + settings.on_s // 2:
            self._deaf.touch()
        if self._policy == DEAF and second == last:
            self._deaf.unlink()

    def _result(self, seconds: list[_Second], busy: float) -> Run:
        settings = self._settings
        of_phase = {phase: [one for i, one in enumerate(seconds) if phase in settings.phases_of(i)] for phase in PHASES}
        failures: dict[str, int] = {}
        for one in seconds:
            for reason, count in one.window.failures.items():
                failures[reason] = failures.get(reason, 0) + count
        return Run(
            policy=self._policy,
            repeat=self._repeat,
            tick_s=settings.tick_s,
            on_s=(settings.before_s, settings.before_s + settings.on_s),
            phases={phase: _figures(ones) for phase, ones in of_phase.items()},
            seconds=tuple(_figures([one]) for one in seconds),
            failures=failures,
            cpu_busy_share=busy,
        )


class Apps:
    """The apps' control pages, asked past the sidecars."""

    def __init__(self, mesh: LabMesh) -> None:
        servers = (service for service in mesh.topology.services if service.short_name == "shop")
        self._containers: dict[str, Container] = {str(one.name): one for one in next(servers).containers}

    async def arrived(self, session: aiohttp.ClientSession) -> dict[str, int]:
        """Return how many requests have come to each app since its start."""
        names = list(self._containers)
        states = await asyncio.gather(*(self._get(session, name, "state") for name in names))
        counted = [state["served"] + state["working"] + state["waiting"] for state in states]
        return dict(zip(names, counted, strict=True))

    async def set_speed(self, session: aiohttp.ClientSession, name: str, speed: float) -> None:
        """Let an app work at ``speed`` from its next request on."""
        await self._get(session, name, f"speed/{speed}")

    async def _get(self, session: aiohttp.ClientSession, name: str, page: str) -> Any:
        url = f"http://{self._containers[name].address}:{APP_PORT}/-/{page}"
        try:
            async with session.get(url) as response:
                return await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise LabError(f"app of {name}: /-/{page}: {str(error) or type(error).__name__}") from error


def _figures(seconds: list[_Second]) -> Figures:
    whole = Window("whole")
    for one in seconds:
        whole.planned += one.window.planned
        whole.failures.update(one.window.failures)
        whole.latency_us.add(one.window.latency_us)
    arrived: Counter[str] = Counter()
    for one in seconds:
        arrived.update(one.arrived)
    came = max(1, arrived.total())
    return Figures(
        requests=whole.planned,
        failed=whole.failed,
        p50_ms=whole.percentile_ms(50.0),
        p99_ms=whole.percentile_ms(99.0),
        slow_share=arrived[SLOW] / came,
        busiest_share=max(arrived.values(), default=0) / came,
    )
