"""Pages that join what the rooms know: health, metrics, allocation, plan, sources. JSON; unknown names are a 404."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aiohttp import web
from prometheus_client import CollectorRegistry

from askew.asked_service import asked_service
from askew.metrics_page import MetricsPage
from askew.places import places_json, standbys_json
from mesh.picture import Picture
from mesh.plan import ServicePlan
from mesh.topology import Container, ContainerName, Service, ServicePort

if TYPE_CHECKING:
    from askew.control_plane import ControlPlane

MOST_LINKS = 1000  # on /debug/linkz, unless it is asked for more


def routes(plane: ControlPlane, registry: CollectorRegistry) -> list[web.RouteDef]:
    """Return the routes that the control plane itself answers."""

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        if plane.ready:
            return web.json_response({"status": "ready"})
        return web.json_response({"status": "starting"}, status=503)

    async def allocationz(request: web.Request) -> web.Response:
        return _allocation(plane, request)

    async def plan(_: web.Request) -> web.Response:
        services = {str(key): service_plan_json(value) for key, value in plane.plan.services.items()}
        return web.json_response({"generation": plane.plan.generation, "services": services})

    async def linkz(request: web.Request) -> web.Response:
        wanted = request.query.get("limit", str(MOST_LINKS))
        if not (wanted.isascii() and wanted.isdigit() and len(wanted) < 10):
            return web.json_response({"error": f"limit: found {wanted!r}, allowed: a whole number"}, status=400)
        return web.json_response(links_json(plane.picture, limit=int(wanted), now_s=plane.telemetry.time_s))

    async def sourcez(_: web.Request) -> web.Response:
        return web.json_response({"sources": [source_json(plane)]})

    async def replicaz(_: web.Request) -> web.Response:
        return web.json_response(replicas_json(plane))

    return [
        web.get("/healthz", healthz),
        web.get("/readyz", readyz),
        web.get("/metrics", MetricsPage(registry).answer),
        web.get("/debug/allocationz", allocationz),
        web.get("/debug/linkz", linkz),
        web.get("/debug/plan", plan),
        web.get("/debug/sourcez", sourcez),
        web.get("/debug/replicaz", replicaz),
    ]


def index_routes(others: Sequence[web.RouteDef]) -> list[web.RouteDef]:
    """Return ``/`` and ``/debug/``: the list of all pages."""
    paths = sorted(route.path for route in others if route.method == "GET")

    async def index(_: web.Request) -> web.Response:
        return web.json_response({"pages": paths})

    return [web.get("/", index), web.get("/debug/", index)]


def service_plan_json(plan: ServicePlan) -> dict[str, Any]:
    """Return a service plan in the shape of ``/debug/allocationz``."""
    return {
        "service": plan.service_port.service,
        "port": plan.service_port.port,
        "clients": list(plan.shares.clients),
        "endpoints": list(plan.shares.endpoints),
        "shares": plan.shares.fractions.tolist(),
        "client_rates": [plan.client_rates.get(client, 0.0) for client in plan.shares.clients],
        "targets": [plan.targets[endpoint] for endpoint in plan.shares.endpoints],
        "cross_node_share": plan.cross_node_share,
        "lower_bound_cross_node_share": plan.lower_bound_cross_node_share,
        "local_share": plan.local_share,
        "connections": plan.shares.connections,
        "unsteered": dict(plan.unsteered),
        "target_reasons": {} if plan.chosen is None else {n: one.why for n, one in plan.chosen.endpoints.items()},
        "managed": True,
        "applied": plan.applied,
        "programming": plan.programming,
        "reason": plan.reason,
    }


def links_json(picture: Picture, *, limit: int, now_s: float) -> dict[str, Any]:
    """Return the ``limit`` busiest links, their ages ``now_s``, how many there are, and what should be measured."""
    links = [
        {
            "from": link.source,
            "to": link.target,
            "bytes_per_s": link.rate_bytes_per_s,
            "method": link.method,
            "residual": link.residual,
            "confidence": link.confidence,
            "age_s": round(link.age_s(now_s), 3),
        }
        for link in picture.links[:limit]
    ]
    return {"links": links, "to_measure": list(picture.to_measure), "links_in_all": len(picture.links)}


def rates_json(picture: Picture, service_port: ServicePort, clients: Sequence[ContainerName]) -> dict[str, Any]:
    """Return how the rates of these clients are known and how old they are, and what the endpoints receive."""
    rates = picture.client_rates[service_port]
    return {
        "client_rates_method": rates.method,
        "client_rates_methods": [rates.methods.get(client, rates.method) for client in clients],
        "client_rates_age_s": [_rounded(rates.age_s.get(client)) for client in clients],
        "endpoint_loads": dict(picture.endpoint_loads.get(service_port, {})),
        "unsteered": dict(picture.unsteered.get(service_port, {})),
    }


def _rounded(age_s: float | None) -> float | None:
    return None if age_s is None else round(age_s, 3)


def replicas_json(plane: ControlPlane) -> dict[str, Any]:
    """Return who leads, who follows; of a control plane that is alone, just that."""
    return {"leads": True, "followers": []} if plane.replicas is None else plane.replicas.page()


def source_json(plane: ControlPlane) -> dict[str, Any]:
    """Return where the mesh comes from and what became of its last version."""
    status = plane.source.status
    return {
        "kind": status.kind,
        "name": status.name,
        "ok": not status.error,
        "error": status.error,
        "loads": status.loads,
        "refusals": status.refusals,
        "loaded_at_s": status.loaded_at_s,
    } | plane.source.page()


def _allocation(plane: ControlPlane, request: web.Request) -> web.Response:
    wanted = request.query.get("service", "")
    if not wanted:
        services = plane.topology.service_by_name.values()
        ports = [(service, port.number) for service in services for port in service.ports]
        return web.json_response([_service_json(plane, service, port) for service, port in ports])
    found = asked_service(plane.topology, wanted)
    if isinstance(found, web.Response):
        return found
    service, service_port = found
    page = _service_json(plane, service, service_port.port)
    page |= places_json(plane.topology, page["clients"], page["endpoints"])
    service_plan = plane.plan.services.get(service_port)
    if service_plan is not None:
        page |= standbys_json(plane.topology, service, service_plan)
    return web.json_response(page)


def _service_json(plane: ControlPlane, service: Service, port: int) -> dict[str, Any]:
    service_port = ServicePort(service.name, port)
    plan = plane.plan.services.get(service_port)
    page = service_plan_json(plan) if plan is not None else _unmanaged_json(plane, service, service_port)
    # Refused by proxies: what is served is an earlier configuration, not what this page shows.
    rolled_back = service_port in plane.last_good.pinned
    return page | {"rolled_back": rolled_back} | rates_json(plane.picture, service_port, page["clients"])


def _why_unmanaged(service: Service, clients: Sequence[Container]) -> str:
    if not service.containers:
        return "it has no endpoints"
    if "off" in (service.policy.routing, service.policy.mode):
        return f"askew.mesh/{'routing' if service.policy.routing == 'off' else 'mode'} is off"
    return "it has no plan yet" if clients else "nobody is known to call it"


def _unmanaged_json(plane: ControlPlane, service: Service, service_port: ServicePort) -> dict[str, Any]:
    """Return what Envoy does with a service that Askew leaves alone: equal shares over all endpoints."""
    rates = plane.picture.client_rates[service_port].requests_per_s
    clients = [client for client in plane.topology.clients_of[service.name] if client.name in rates]
    endpoints = service.containers
    m = len(endpoints)
    total = sum(rates.values())
    pairs = [(rates[c.name], c.node == e.node) for c in clients for e in endpoints]
    local = sum(rate for rate, same in pairs if same) / (m * total) if m and total else 1.0
    why = _why_unmanaged(service, clients)
    return {
        "service": service.name,
        "port": service_port.port,
        "clients": [client.name for client in clients],
        "endpoints": [endpoint.name for endpoint in endpoints],
        "shares": [[1 / m] * m for _ in clients] if m else [[] for _ in clients],
        "client_rates": [rates[client.name] for client in clients],
        "targets": [total / m] * m if m else [],
        "cross_node_share": 1.0 - local,
        "local_share": local,
        "connections": len(clients) * m,
        "managed": False,
        "applied": False,
        "reason": f"Not managed ({why}): all endpoints, equal weights.",
    }
