"""Debug pages over the store, with istiod's names and shapes. Each edge exports its routes; the root mounts them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from aiohttp import web
from envoy.service.discovery.v3 import ads_pb2  # noqa: F401 - registers every type that the pages print
from google.protobuf import any_pb2, json_format

from xds_server.resources.names import EDS
from xds_server.snapshot import Resource
from xds_server.store import Client, Store


def routes(store: Store) -> list[web.RouteDef]:
    """Return the routes ``/debug/syncz``, ``/debug/edsz`` and ``/debug/config_dump``."""

    async def syncz(_: web.Request) -> web.Response:
        return web.json_response([proxy_status(client) for client in store.clients.values()])

    async def edsz(request: web.Request) -> web.Response:
        return _for_proxy(store, request, lambda client: _resources(client, (EDS,)))

    async def config_dump(request: web.Request) -> web.Response:
        return _for_proxy(store, request, lambda client: {"configs": _resources(client, None)})

    return [
        web.get("/debug/syncz", syncz),
        web.get("/debug/edsz", edsz),
        web.get("/debug/config_dump", config_dump),
    ]


def proxy_status(client: Client) -> dict[str, Any]:
    """Return what a proxy was sent and has accepted, by type: istiod's shape, with ours beside it."""
    resources = {}
    for stream in client.streams:
        for type_url, subscription in stream.subscriptions.items():
            status = stream.sent[type_url]
            resources[type_url] = {
                "sent": status.sent_nonce,
                "acked": status.acked_nonce,
                "sentTime": _iso(status.sent_at_s),
                "lastError": subscription.last_error,
                "nacks": subscription.nacks,
                "rejected": sorted(subscription.rejected),
                "resources": len(subscription.known),
            }
    return {
        "proxy": client.proxy.id,
        "proxy_type": "sidecar",
        "cluster_id": client.proxy.cluster,
        "version": client.proxy.user_agent,
        "synced": client.converged(),
        "resources": resources,
    }


def _for_proxy(store: Store, request: web.Request, page: Callable[[Client], Any]) -> web.Response:
    name = request.query.get("proxyID", "")
    if not name:
        return web.json_response({client.proxy.id: page(client) for client in store.clients.values()})
    client = store.clients.get(name)
    if client is None:
        error = f"proxyID: found {name!r}, allowed: a connected proxy (/debug/syncz lists them)"
        return web.json_response({"error": error}, status=404)
    return web.json_response(page(client))


def _resources(client: Client, types: Iterable[str] | None) -> list[Any]:
    if client.snapshot is None:
        return []
    wanted = client.snapshot.resources.keys() if types is None else types
    return [_as_json(one) for type_url in wanted for one in client.snapshot.of(type_url).values()]


def _as_json(one: Resource) -> Any:
    message = any_pb2.Any(type_url=one.type_url, value=one.body)
    return json_format.MessageToDict(message, preserving_proto_field_name=True) | {"version": one.version}


def _iso(seconds: float) -> str:
    if not seconds:
        return ""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03d}Z"
