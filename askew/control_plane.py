"""The control plane's composition root: read it from top to bottom."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from aiohttp import web
from prometheus_client import CollectorRegistry

from allocators.mesh_plan import Planner, plan_mesh
from askew import debug_pages, node_agents_page, performance_page
from askew.control_loop import Memory, tick
from askew.debounce import Debounce
from askew.errors import CommandError
from askew.guard import guarded
from askew.http_access import TokenFile, access_rule
from askew.http_server import http_runner
from askew.last_good import LastGood
from askew.loop_metrics import LoopMetrics
from askew.memory_store import MemoryStore
from askew.mesh_source import MeshFileSource, TopologySource
from askew.mtls_port import MtlsPort, mtls_settings
from askew.node_agents import towards_nodes
from askew.node_agents_page import NodeAgentsMetrics
from askew.pod_placing import PodPlacer
from askew.prometheus_source import Past, PrometheusSource, with_past
from askew.replication.replicas import Replicas
from askew.replication.wire import Decided
from askew.scheduler_page import SchedulerPage
from askew.settings import ServeSettings
from mesh.picture import Picture
from mesh.plan import Plan
from mesh.telemetry import Telemetry
from mesh.topology import Container, ContainerName, Topology, differs_in_endpoints_only
from xds_server.admission import Admission
from xds_server.debug import pages, telemetry_page
from xds_server.errors import BadSettingsError, CannotListenError
from xds_server.extras import Extras
from xds_server.identity import claimed_workload
from xds_server.ingest.collector import Collector
from xds_server.ingest.metrics import IngestMetrics
from xds_server.ingest.sidecar_pages import SidecarPages, to_be_asked
from xds_server.metrics import XdsMetrics
from xds_server.proxy import INBOUND_METADATA, Proxy, transport_of
from xds_server.resources.client_config import ClientConfigs
from xds_server.rest import RestDiscovery
from xds_server.server import XdsServer
from xds_server.snapshot import Snapshot
from xds_server.store import Store
from xds_server.tokens import CheckToken

log = logging.getLogger(__name__)
SLICE_S = 0.005  # of work that can wait, before others have their turn


class ControlPlane:
    """``askew serve``: a mesh in, from a file (its name) or another source, shares over xDS out."""

    def __init__(
        self,
        mesh: str | TopologySource,
        settings: ServeSettings,
        *,
        planner: Planner = plan_mesh,
        check_token: CheckToken | None = None,
    ) -> None:
        self.settings, self._planner = settings, planner
        self.registry = CollectorRegistry()
        self.metrics = LoopMetrics(self.registry)
        self.metrics.leads.set_function(lambda: float(self.leads()))
        self.source: TopologySource = (
            MeshFileSource(mesh, poll_s=settings.source.poll_s) if isinstance(mesh, str) else mesh
        )
        self.source.on_change = self._mesh_changed
        self.source.on_error = self.metrics.source_errors.labels(self.source.status.kind).inc
        self.topology, self.telemetry = Topology(), Telemetry()
        self.memory, self.picture, self.plan = Memory(), Picture(), Plan()
        self.memory_store = MemoryStore(settings.memory)
        self.memory_store.on_error = self.metrics.source_errors.labels("memory-file").inc
        self.configs = ClientConfigs(self.topology, self.plan)
        self.xds_metrics = XdsMetrics(self.registry)
        self.store = Store(self.snapshot_of, on_inconsistent=self._snapshot_refused, on_condemned=self._go_back)
        self.store.counts = lambda proxy: self._container_of(proxy) is not None
        admission = Admission(settings.xds, self.xds_metrics, account_of=self._account_of)
        self.collector = Collector(settings.ingest, identify=self._container_of, now_s=time.time, admission=admission)
        self.registry.register(IngestMetrics(self.collector))
        try:
            self.pages = SidecarPages(self.collector, self._asked_sidecars)
        except BadSettingsError as error:
            raise CommandError(str(error)) from error
        self.prometheus = PrometheusSource(
            settings.prometheus,
            self.collector,
            topology=lambda: self.topology,
            learn=self._learn_past,
            seen=lambda: (self.memory, self.picture),
            is_active=self.leads,
            on_error=self.metrics.source_errors.labels("prometheus").inc,
        )
        self.agents, self.nodes = towards_nodes(
            settings.nodes,
            check=isinstance(mesh, str),
            topology=lambda: self.topology,
            links=lambda: self.picture.links,
            is_active=self.leads,
            on_error=self.metrics.source_errors.labels("node-agent").inc,
        )
        self.registry.register(NodeAgentsMetrics(self.agents))
        self.xds = self._xds_server(admission, check_token)
        self.rest = RestDiscovery(self.store, settings.xds, self.xds_metrics)
        self.scheduler = self._scheduler_page()
        self.mtls = self._mtls_port()
        self.last_good = LastGood()
        self.replicas: Replicas | None = None
        self.on_plan: Callable[[], None] = lambda: None
        self._unprepared = asyncio.Event()
        self.ready, self.http_port, self._started_s = False, 0, 0.0
        self._changes = Debounce(quiet_s=settings.loop.debounce_s, longest_s=settings.loop.debounce_longest_s)

    def leads(self) -> bool:
        """Whether this one decides: alone, or elected."""
        return self.replicas is None or self.replicas.leads

    def _xds_server(self, admission: Admission, check_token: CheckToken | None) -> XdsServer:
        return XdsServer(
            self.store,
            self.settings.xds,
            self.xds_metrics,
            extras=Extras(self.store, self.collector),
            admission=admission,
            check_token=check_token,
            account_of=self._account_of,
        )

    async def run(self, *, on_ready: Callable[[], None] = lambda: None) -> None:
        """Serve until cancelled. Raises CommandError for a bad source or a port that is not to be had."""
        try:
            await self.source.start()
            await self._serve(on_ready)
        finally:
            await self.source.stop()

    async def _serve(self, on_ready: Callable[[], None]) -> None:
        self._started_s = time.time()
        self.memory = self.memory_store.load(now_s=self._started_s)
        self._tick()  # the first topology is news even where no service is managed and the plan stays empty
        await self._prepare()  # all of it, before the first sidecar may ask
        try:
            await self.xds.start()
        except CannotListenError as error:
            raise CommandError(str(error), exit_code=1) from error
        except BadSettingsError as error:
            raise CommandError(str(error)) from error
        try:
            http = await self._start_http()
        except CommandError:
            await self.xds.stop()
            raise
        try:
            async with asyncio.TaskGroup() as parts:
                parts.create_task(guarded("xds server", self.xds.run()), name="xds-server")
                if self.xds.certificates is not None:
                    parts.create_task(guarded("certificates", self.xds.certificates.run()), name="certificates")
                if self.mtls is not None:
                    parts.create_task(guarded("mtls port", self.mtls.run()), name="mtls-port")
                parts.create_task(guarded("source", self.source.run()), name="source")
                parts.create_task(guarded("control loop", self._loop()), name="control-loop")
                parts.create_task(guarded("preparation", self._keep_prepared()), name="preparation")
                parts.create_task(guarded("sidecar pages", self.pages.run()), name="sidecar-pages")
                parts.create_task(guarded("prometheus", self.prometheus.run()), name="prometheus")
                parts.create_task(guarded("nodes", self.nodes.run()), name="nodes")
                parts.create_task(guarded("node agents", self.agents.run()), name="node-agents")
                parts.create_task(guarded("memory", self.memory_store.run(lambda: self.memory)), name="memory")
                self.ready = True
                hosts = self.settings.xds.host, self.settings.http.host
                said = len(self.topology.services), hosts[0], self.xds.port, hosts[1], self.http_port
                log.info("ready: %d services; xds on %s port %d, http on %s port %d", *said)
                on_ready()
        finally:
            self.ready = False
            await http.cleanup()
            if self.mtls is not None:
                await self.mtls.stop()

    # -- one tick -----------------------------------------------------------------------------------------------------

    async def _loop(self) -> None:
        """Tick at once when the mesh has changed (debounced), and every ``tick_s`` otherwise."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.settings.loop.tick_s):
                    await self._changes.wait()
            self._tick()

    def _tick(self) -> None:
        started_s = time.perf_counter()
        topology = self.source.topology or self.topology
        self.telemetry = self.hear()
        replicas = self.replicas
        if replicas is not None and not replicas.leads:
            replicas.report(self.telemetry, self.store.sidecars())
            self._stand_by(topology)
            return
        if replicas is not None:
            self.telemetry = replicas.merged(self.telemetry)
        tick_s = self.settings.loop.tick_s
        self.memory, self.picture, plan = tick(
            self.memory, topology, self.telemetry, tick_s=tick_s, planner=self._planner
        )
        self.metrics.plan_seconds.observe(time.perf_counter() - started_s)
        self._apply(topology, plan)
        if replicas is not None:
            replicas.publish(plan=plan, picture=self.picture, memory=self.memory)
        self.metrics.show(self.picture, plan)
        self.metrics.tick_seconds.observe(time.perf_counter() - started_s)

    def hear(self) -> Telemetry:
        """Return what has been reported since the last tick."""
        asked, on_nodes = self.prometheus, self.agents.links.samples()
        heard = replace(self.collector.drain(), callers=asked.callers, told=asked.told)
        return replace(heard, nodes=self.nodes.samples(), link_samples=on_nodes)

    def _learn_past(self, past: Past) -> None:
        tables = with_past(self.memory.tables, past, before_s=self._started_s)
        self.memory = replace(self.memory, tables=tables)

    def lead(self) -> None:
        """Decide at once: a new leader goes on from what the last one remembered."""
        self._changes.note(urgent=True)

    def _stand_by(self, topology: Topology) -> None:
        """Serve what the leader decided; before a first word of one, the plan that holds without telemetry."""
        plan = self.plan
        if self.replicas is not None and not self.replicas.has_followed:
            silence = Telemetry(time_s=self.telemetry.time_s)
            _, self.picture, plan = tick(self.memory, topology, silence, tick_s=self.settings.loop.tick_s)
        self._apply(topology, plan)
        self.metrics.show(self.picture, plan)

    def follow(self, decided: Decided) -> None:
        """Take over a tick of the leader: all of it that our types can hold."""
        self.memory = decided.memory or self.memory
        self.picture = decided.picture or self.picture
        self._apply(self.source.topology or self.topology, decided.plan or self.plan)
        self.metrics.show(self.picture, self.plan)

    def _apply(self, topology: Topology, plan: Plan) -> None:
        changed = plan.generation != self.plan.generation or topology is not self.topology
        self.topology, self.plan = topology, plan
        self.agents.note_change()
        if not changed:
            return
        before = self.configs
        sent = plan.following(before.plan)
        self.metrics.count_links(before.plan, sent)
        self.last_good.before_change(before, topology, sent, self.store.tally)
        self.configs = ClientConfigs(topology, sent, predecessor=before, pinned=self.last_good.pinned)
        self.store.apply(self.snapshot_of, changed=self.last_good.changed, only=self._touched(before))
        self._unprepared.set()
        self.on_plan()

    async def _prepare(self) -> None:
        """Make ahead what Istio's sidecars may ask for, in slices between which others are served."""
        configs, began_s = self.configs, time.perf_counter()
        for _ in configs.istio.preparing() if self.topology.istio.endpoints else ():
            if time.perf_counter() - began_s > SLICE_S:
                await asyncio.sleep(0)
                began_s = time.perf_counter()
            if configs is not self.configs:
                return  # the newer ones take over what was made

    async def _keep_prepared(self) -> None:
        while True:
            self._unprepared.clear()
            await self._prepare()
            await self._unprepared.wait()

    def _touched(self, before: ClientConfigs) -> set[str] | None:
        """Return the workload ids of the clients that a change of plans can touch; None for all, in another mesh.

        Who has a row in neither plan is answered as before, with all endpoints.
        """
        if before.topology is not self.topology or before.pinned != self.last_good.pinned:
            return None
        containers, changed = self.topology.container_by_name, self.last_good.changed
        rows = {
            name
            for plan in (before.plan, self.plan)
            for service_port, one in plan.services.items()
            if str(service_port) in changed
            for name in one.shares.clients
        }
        return {containers[name].proxy_id for name in rows if name in containers}

    def _go_back(self, condemned: list[str]) -> None:
        """Proxies refuse a service's change: give all of them what they had before, until the service changes again."""
        for service_port in self.last_good.go_back(condemned):
            sent, refused = self.store.tally.figures(str(service_port))
            self.xds_metrics.rollbacks.inc()
            log.error("%s returns to its last accepted version: %d of %d proxies refused", service_port, refused, sent)
        self.configs = ClientConfigs(
            self.topology, self.configs.plan, predecessor=self.configs, pinned=self.last_good.pinned
        )
        self.store.apply(self.snapshot_of)

    def _snapshot_refused(self, proxy_id: str, found: list[str]) -> None:
        self.xds_metrics.inconsistent.inc()
        log.error("the snapshot for %s is refused, the previous one stays: %s", proxy_id, "; ".join(found[:3]))

    def _mesh_changed(self, topology: Topology) -> None:
        self._changes.note(urgent=differs_in_endpoints_only(self.topology, topology))

    def _container_of(self, proxy: Proxy) -> ContainerName | None:
        container = self.topology.container_by_proxy_id.get(proxy.workload_id)
        return None if container is None else container.name

    def _account_of(self, proxy_id: str) -> str:
        workload = claimed_workload(proxy_id)
        name = "" if workload is None else f"{workload.container}.{workload.namespace}"
        container = self.topology.container_by_proxy_id.get(name)
        return "" if container is None else container.service_account

    def _asked_sidecars(self) -> list[Container]:
        """Return whose statistics are to be read: of sidecars that are connected here, so that one replica asks."""
        whom = self.settings.ingest.scrape
        # An agent is no reason to ask Istio's sidecars: it does not read them, and they show no clusters as installed.
        proxies = (client.proxy for client in self.store.clients.values())
        here = {proxy.workload_id for proxy in proxies if whom == "all" or not proxy.is_istio}
        wanted = to_be_asked(self.topology, whom)
        return [container for container in wanted if container.proxy_id in here]

    def snapshot_of(self, proxy: Proxy) -> Snapshot | None:
        """Return what a proxy should have; None for a stranger."""
        if proxy.is_istio:
            return self.configs.istio.snapshot(proxy.workload_id)
        container = self.topology.container_by_proxy_id.get(proxy.workload_id)
        if container is None:
            return None  # a stranger, or a container that has just gone: it keeps what it has
        return self.configs.snapshot(
            container, inbound=proxy.metadata.get(INBOUND_METADATA) != "bootstrap", transport=transport_of(proxy)
        )

    # -- the HTTP port ------------------------------------------------------------------------------------------------

    async def _start_http(self) -> web.AppRunner:
        routes = [*debug_pages.routes(self, self.registry), *pages.routes(self.store), *self.rest.routes()]
        routes += [*performance_page.routes(self), *telemetry_page.routes(self.collector)]
        routes += node_agents_page.routes(self.agents)
        routes += self.scheduler.routes()
        token = TokenFile(self.settings.http.token_file) if self.settings.http.token_file else None
        if token is not None:
            token.load()
        runner = await http_runner([*routes, *debug_pages.index_routes(routes)], [access_rule(token)])
        host, port = self.settings.http.host, self.settings.http.port
        try:
            site = web.TCPSite(runner, host, port)
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise CommandError(f"--http: cannot listen on {host}:{port}: {error.strerror}", exit_code=1) from error
        self.http_port = runner.addresses[0][1]
        if self.mtls is not None:
            try:
                await self.mtls.start()
            except CommandError:
                await self.mtls.stop()
                await runner.cleanup()
                raise
        return runner

    def _scheduler_page(self) -> SchedulerPage:
        placer = PodPlacer(
            lambda: (self.topology, self.picture.links),
            names_of=self.source.services_of_new,
            crowded_share=self.settings.scheduler.crowded_share,
        )
        return SchedulerPage(placer, self.registry)

    def _mtls_port(self) -> MtlsPort | None:
        tls = mtls_settings(self.settings)
        if tls is None:
            return None
        admission = Admission(tls, self.xds_metrics, account_of=self._account_of)
        routes = [*self.scheduler.routes(), *self.rest.routes(admission)]
        return MtlsPort(self.settings, tls, self.xds_metrics, routes)
