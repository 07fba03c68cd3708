"""``/debug/perfz``: what each endpoint of a service does, what it should get and why, and what was learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from aiohttp import web

from askew.asked_service import asked_service
from estimators.performance_table import PerformanceTable
from mesh.picture import EndpointFigure
from mesh.plan import EndpointTarget
from mesh.topology import ContainerName, NodeName, Service, ServicePort

if TYPE_CHECKING:
    from askew.control_plane import ControlPlane

NO_FIGURE: dict[str, Any] = dict.fromkeys(EndpointFigure.__slots__)


def routes(plane: ControlPlane) -> list[web.RouteDef]:
    """Return the page's route."""

    async def perfz(request: web.Request) -> web.Response:
        wanted = request.query.get("service", "")
        if not wanted:
            services = plane.topology.service_by_name.values()
            ports = [(service, service.service_port(port)) for service in services for port in service.ports]
            return web.json_response([performance_json(plane, service, key) for service, key in ports])
        found = asked_service(plane.topology, wanted)
        if isinstance(found, web.Response):
            return found
        return web.json_response(performance_json(plane, *found))

    return [web.get("/debug/perfz", perfz)]


def performance_json(plane: ControlPlane, service: Service, key: ServicePort) -> dict[str, Any]:
    """Return one service port: figures with counts and ages, targets with reasons, φ. What is not known is null."""
    plan = plane.plan.services.get(key)
    chosen = plan.chosen if plan is not None else None
    figures = plane.picture.endpoint_figures.get(key, {})
    targets: Mapping[ContainerName, EndpointTarget] = chosen.endpoints if chosen is not None else {}
    table = plane.memory.tables.get(key)
    return {
        "service": key.service,
        "port": key.port,
        "routing": service.policy.routing,
        "strategy": service.policy.strategy,
        "reason": chosen.reason if chosen is not None else "Targets by capacity: latency does not decide here.",
        "oscillating": chosen is not None and chosen.oscillating,
        "undone": chosen is not None and chosen.undone,
        "crossing_price_ms": plane.picture.crossing_price_ms.get(key),
        "endpoints": [
            {"endpoint": one.name, "node": one.node} | _figure(figures.get(one.name)) | _target(targets.get(one.name))
            for one in service.containers
        ],
        "nodes": _nodes(plane, {container.node for container in service.containers}),
        "table": None if table is None else table_json(table, now_s=plane.telemetry.time_s),
    }


def table_json(table: PerformanceTable, *, now_s: float) -> dict[str, Any]:
    """Return φ: its cells in order of their place (buckets of CPU, memory bandwidth, network bandwidth, load)."""
    cells = [
        {
            "place": list(place),
            "load_per_s": cell.load_per_s,
            "tail_ms": cell.tail_ms,
            "mean_ms": cell.mean_ms,
            "count": cell.count,
            "age_s": round(max(0.0, now_s - cell.time_s), 3),
        }
        for place, cell in sorted(table.cells.items())
    ]
    return {"full_load_per_s": table.full_load_per_s, "percentile": table.percentile, "cells": cells}


def _nodes(plane: ControlPlane, names: set[NodeName]) -> dict[str, Any]:
    """Return how busy these nodes are, where it is known."""
    now_s = plane.telemetry.time_s
    known = {name: one for name, one in plane.picture.node_interference.items() if name in names}
    return {
        name: {
            "cpu": one.cpu,
            "waiting": dict(one.waiting),
            "memory_bytes_per_s": one.memory_bytes_per_s,
            "network_bytes_per_s": one.network_bytes_per_s,
            "window_s": one.window_s,
            "age_s": round(max(0.0, now_s - one.time_s), 3),
        }
        for name, one in sorted(known.items())
    }


def _figure(figure: EndpointFigure | None) -> dict[str, Any]:
    return NO_FIGURE if figure is None else asdict(figure)


def _target(target: EndpointTarget | None) -> dict[str, Any]:
    if target is None:
        return dict.fromkeys(("service_ms", "target_share", "fair_share", "why"))
    return {
        "service_ms": target.service_ms,
        "target_share": target.part,
        "fair_share": target.fair_part,
        "why": target.why,
    }
