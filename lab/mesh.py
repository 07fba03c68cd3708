"""A whole mesh: control plane, apps and sidecars come up, a scenario runs in it, and everything goes again, always.

::

    run_in_mesh ─┬─ askew serve --mesh FILE          one process
                 ├─ python -m lab.apps               one process, all apps
                 ├─ envoy × containers               one process each
                 └─ the scenario, in this process    cancelled if any of the others dies
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from askew.control_loop import TICK_S
from lab.application import Application
from lab.children import Children
from lab.envoy_admin import EnvoyAdmin, admin_session
from lab.errors import LabError, StartError, WireError
from lab.flow import load_senders, service_rates
from lab.http_wire import ClientPool
from lab.load import Source
from lab.mesh_document import MeshDocument, Rates, mesh_document, node_prefixes
from lab.places import Block, refuse_taken, reserve_block
from lab.scratch import scratch_directory
from lab.sidecars import SidecarSettings, start_sidecar
from lab.topology_file import APP_PORT, LOAD_SERVICE
from mesh.topology import Container, ContainerName, Topology
from xds_server.resources.bootstrap import PROMETHEUS_PORT

T = TypeVar("T")
HOUSE = Path(__file__).resolve().parent.parent
START_DEADLINE_S = 60.0
LEAST_LEARNT_PER_S = 2.0  # requests per second; less takes too long to say anything about who sends how much
XDS_PORT, HTTP_PORT, FIRST_ADMIN_PORT = 0, 1, 2  # within the block's ports


@dataclass(frozen=True, slots=True)
class MeshSettings:
    """What to bring up."""

    application: Application
    topology_file: Path
    annotations: Mapping[str, str]
    rates: Rates = "learnt"
    control_plane: tuple[str, ...] = ("askew", "serve")  # what follows ``python -m``
    cross_node_delay_ms: int = 2
    tick_s: float = TICK_S  # of the control loop; sidecars send their statistics as often, load reports twice
    seed: int = 1
    say: Callable[[str], None] = lambda text: None


class LabMesh:
    """A running mesh, as a scenario sees it."""

    def __init__(
        self, settings: MeshSettings, block: Block, directory: Path, children: Children, session: aiohttp.ClientSession
    ) -> None:
        self.settings, self.block, self.children, self._session = settings, block, children, session
        self.mesh_file = directory / "mesh.yaml"
        self.document = self._document(settings.annotations)
        self.sidecars = {
            str(container.name): EnvoyAdmin(container, block.port(FIRST_ADMIN_PORT + index), session)
            for index, container in enumerate(self.document.topology.container_by_name.values())
        }

    @property
    def application(self) -> Application:
        return self.settings.application

    @property
    def topology(self) -> Topology:
        return self.document.topology

    @property
    def xds_address(self) -> tuple[str, int]:
        return "127.0.0.1", self.block.port(XDS_PORT)

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.block.port(HTTP_PORT)}"

    @property
    def clients(self) -> dict[str, EnvoyAdmin]:
        """The sidecars whose containers call somebody."""
        callers = {service for service, called in self.topology.servers_of.items() if called}
        return {name: admin for name, admin in self.sidecars.items() if admin.container.service in callers}

    @property
    def load_sources(self) -> tuple[Source, ...]:
        """Where the load enters, with the rates of the topology file."""
        load = self.application.load
        containers = {container.name: container for container in self._containers_of_load()}
        sending = ((containers[ContainerName(sender.name)], sender.part) for sender in load_senders(load))
        return tuple(Source(one.address, one.outbound_port, load.requests_per_s * part) for one, part in sending)

    def annotate(self, annotations: Mapping[str, str]) -> None:
        """Write the mesh file anew with other annotations, in one step: readers see the old one or the new one."""
        self.document = self._document(annotations)
        self.write_mesh_file()

    def write_mesh_file(self) -> None:
        draft = self.mesh_file.with_suffix(".draft")
        draft.write_text(self.document.text, "utf-8")
        draft.replace(self.mesh_file)

    async def all_acked(self) -> bool:
        """Return whether every sidecar is connected and has acknowledged all that the control plane has sent it."""
        async with self._session.get(f"{self.http_url}/debug/syncz") as response:
            proxies = await response.json()
        states = [state for proxy in proxies for state in proxy["resources"].values()]
        return len(proxies) == len(self.sidecars) and all(state["sent"] == state["acked"] for state in states)

    async def generation(self) -> int:
        """Return the generation of the control plane's plan: it grows when sidecars are told something else."""
        async with self._session.get(f"{self.http_url}/debug/plan") as response:
            return int((await response.json())["generation"])

    async def unlearnt(self) -> list[str]:
        """Return the services that the load reaches and whose clients' rates the control plane still has to assume."""
        async with self._session.get(f"{self.http_url}/debug/allocationz") as response:
            pages = await response.json()
        reached = service_rates(self.application)
        assumed = [page["service"] for page in pages if page["client_rates_method"] == "assumed"]
        return [name for name in assumed if reached.get(name.split(".")[0], 0.0) >= LEAST_LEARNT_PER_S]

    def _document(self, annotations: Mapping[str, str]) -> MeshDocument:
        return mesh_document(
            self.application, block=self.block.number, annotations=annotations, rates=self.settings.rates
        )

    def _containers_of_load(self) -> tuple[Container, ...]:
        return next(service.containers for service in self.topology.services if service.short_name == LOAD_SERVICE)


async def run_in_mesh(settings: MeshSettings, scenario: Callable[[LabMesh], Coroutine[Any, Any, T]]) -> T:
    """Bring a mesh up, run ``scenario`` in it, and take everything down, whatever happens.

    Raises
    ------
    PlaceTakenError
        where an address or port is in use by somebody else.
    StartError
        where a part does not come up within ``START_DEADLINE_S``.
    LabError
        where a process of the mesh dies while the scenario runs.
    """
    with reserve_block() as block, scratch_directory() as directory:
        children = Children(directory)
        try:
            async with admin_session() as session:
                mesh = LabMesh(settings, block, directory, children, session)
                refuse_taken(_places(mesh))
                await _start(mesh, directory, session)
                return await _while_all_live(children, scenario(mesh))
        finally:
            children.stop()


def _places(mesh: LabMesh) -> Iterator[tuple[str, int]]:
    yield mesh.xds_address
    yield "127.0.0.1", mesh.block.port(HTTP_PORT)
    for admin in mesh.sidecars.values():
        yield "127.0.0.1", admin.port
        address = admin.container.address
        yield address, PROMETHEUS_PORT
        yield address, admin.container.outbound_port
        for port in (*admin.container.ports.values(), *admin.container.app_ports.values()):
            yield address, port


async def _start(mesh: LabMesh, directory: Path, session: aiohttp.ClientSession) -> None:
    settings, children = mesh.settings, mesh.children
    settings.say("starting the control plane and the apps")
    mesh.write_mesh_file()
    # Ours, not a package of the same name that lies where the user happens to stand (-P leaves that folder out).
    environment = os.environ | {"PYTHONPATH": str(HOUSE)} | _pace(settings.tick_s)
    python = [sys.executable, "-P", "-m"]
    serve = ["--mesh", str(mesh.mesh_file), "--xds", _host_port(mesh.xds_address), "--http", mesh.http_url[7:]]
    children.start("askew", [*python, *settings.control_plane, *serve], environment=environment)
    apps = [str(settings.topology_file), "--block", str(mesh.block.number), "--seed", str(settings.seed)]
    children.start("apps", [*python, "lab.apps", *apps], environment=environment)
    await _while_all_live(children, _until("control plane", lambda: _answers(session, mesh.http_url + "/readyz")))
    *_, last = mesh.topology.container_by_name.values()
    await _while_all_live(
        children, _until("apps", lambda: _answers(session, f"http://{last.address}:{APP_PORT}/-/state"))
    )
    settings.say(f"starting {len(mesh.sidecars)} Envoys")
    await _start_sidecars(mesh, directory)
    await _while_all_live(children, _until("the way through the mesh", lambda: _load_passes(mesh)))


def _pace(tick_s: float) -> dict[str, str]:
    return {"ASKEW_LOOP_TICK_S": str(tick_s), "ASKEW_INGEST_LOAD_REPORT_INTERVAL_S": str(tick_s / 2.0)}


async def _start_sidecars(mesh: LabMesh, directory: Path) -> None:
    prefixes = node_prefixes(mesh.application, block=mesh.block.number)
    settings = mesh.settings
    shared = SidecarSettings(mesh.xds_address, prefixes, settings.cross_node_delay_ms, settings.tick_s)
    for admin in mesh.sidecars.values():
        start_sidecar(mesh.children, mesh.topology, admin.container, shared, admin_port=admin.port, directory=directory)
        await asyncio.sleep(0)  # a Ctrl-C is heard between two of them
    for name, admin in mesh.sidecars.items():
        await _while_all_live(mesh.children, _until(f"sidecar of {name}", admin.is_ready))


async def _while_all_live(children: Children, work: Coroutine[Any, Any, T]) -> T:
    """Return what ``work`` returns, or raise StartError as soon as a process of the mesh has ended."""
    loop = asyncio.get_running_loop()
    working, watching = loop.create_task(work), loop.create_task(children.first_death())
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        dead = watching.result()
        raise LabError(f"{dead.name} ended with code {dead.process.wait()}: {dead.last_words()}")
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _until(what: str, ready: Callable[[], Awaitable[bool]]) -> None:
    until = time.monotonic() + START_DEADLINE_S
    while not await ready():
        if time.monotonic() > until:
            raise StartError(f"{what}: not ready after {START_DEADLINE_S:g} s")
        await asyncio.sleep(0.05)


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


async def _load_passes(mesh: LabMesh) -> bool:
    """Return whether each source of the load gets one good answer from the entry service."""
    load = mesh.application.load
    for source in mesh.load_sources:
        pool = ClientPool(source.address, source.port)
        try:
            path = "/" + next(iter(load.mix))
            response = await pool.get(path, authority=load.service, headers={}, deadline_s=5.0)
        except (WireError, OSError, TimeoutError):
            return False
        finally:
            pool.close()
        if response.status != 200:
            return False
    return True


def _host_port(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"
