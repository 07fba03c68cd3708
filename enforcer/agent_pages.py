"""The agent's HTTP pages: health and metrics for everyone, and what holds and why for who may read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from enforcer.agent import NodeAgent
from enforcer.node_loop import LoopFigures
from enforcer.node_writer import boot_clock_s


def routes(
    agent: NodeAgent, figures: LoopFigures | None, registry: CollectorRegistry, *, is_ready: Callable[[], bool]
) -> list[web.RouteDef]:
    """Return the routes; ``askew/`` mounts them behind its rule of who may read."""

    async def healthz(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(request: web.Request) -> web.Response:
        return web.Response(text="ok\n") if is_ready() else web.Response(status=503, text="not ready\n")

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def index(request: web.Request) -> web.Response:
        return web.json_response({"pages": ["/debug/statusz", "/debug/loopz", "/metrics", "/healthz", "/readyz"]})

    async def statusz(request: web.Request) -> web.Response:
        return web.json_response(await _status(agent))

    async def loopz(request: web.Request) -> web.Response:
        return web.json_response(_loop(figures) if figures is not None else {"loop": "none in this role or strategy"})

    return [
        web.get("/healthz", healthz),
        web.get("/readyz", readyz),
        web.get("/metrics", metrics),
        web.get("/", index),
        web.get("/debug/", index),
        web.get("/debug/statusz", statusz),
        web.get("/debug/loopz", loopz),
    ]


async def _status(agent: NodeAgent) -> dict[str, Any]:
    status, now_s = await agent.status(), boot_clock_s()
    return {
        "node": status.node,
        "role": status.role,
        "dry_run": status.is_dry_run,
        "generation": status.generation,
        "capabilities": dict(status.capabilities),
        "actions": [
            {
                "container": lease.action.container,
                "resource": lease.action.resource,
                "value": lease.action.value,
                "unit": lease.action.unit,
                "generation": lease.generation,
                "expires_in_s": round(max(0.0, lease.expires_at_s - now_s), 3),
            }
            for lease in status.leases
        ],
        "containers_generation": status.containers_generation,
        "conflicts": list(status.conflicts),
        "migrations": [
            {"container": wish.container, "reason": wish.reason, "certain": wish.certain} for wish in status.migrations
        ],
    }


def _loop(figures: LoopFigures) -> dict[str, Any]:
    decision = figures.last
    return {
        "steps": figures.steps,
        "changes": figures.changes,
        "late": figures.late,
        "cpu_s": round(figures.cpu_s, 3),
        "reasons": list(decision.reasons),
        "containers": [
            {
                "name": one.name,
                "class": one.container_class,
                "target_ms": one.target_ms or None,
                "percentile": one.percentile,
                "latency_ms": decision.latency_ms.get(one.name),
                "slack": decision.slack.get(one.name),
                "held": dict(one.held),
                "unreadable": one.why,
            }
            for one in figures.reading.containers
        ],
        "not_done": [
            {"container": r.container, "resource": r.resource, "result": r.result, "detail": r.detail}
            for r in figures.not_done
        ],
    }
