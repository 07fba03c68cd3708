"""Read a sidecar's admin interface: readiness, inbound counters by source node, open connections, config counters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from lab.errors import LabError
from lab.inbound import ELSEWHERE, stat_prefix
from lab.traffic import Amount, Link
from mesh.topology import Container

READ_DEADLINE_S = 5.0
READ_AT_ONCE = 8
_INBOUND = "^http\\.from_.*\\.downstream_(rq_completed|cx_rx_bytes_total|cx_tx_bytes_total)$"
# Each accepted change of configuration moves one of these.
_CONFIG = "(^cluster_manager\\.(cds\\.update_success|cluster_)|config_reload$|^cluster\\.outbound.*\\.update_success$)"


class EnvoyAdmin:
    """The admin interface of one sidecar, on 127.0.0.1."""

    def __init__(self, container: Container, port: int, session: aiohttp.ClientSession) -> None:
        self.container, self.port, self._session = container, port, session

    async def is_ready(self) -> bool:
        """Return whether Envoy is live: it has its first configuration and its workers run."""
        try:
            async with self._session.get(self._url("/ready")) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def inbound_traffic(self) -> list[tuple[Link, Amount]]:
        """Return what this container's inbound chains have counted since Envoy's start, one entry a source node."""
        amounts: dict[str, Amount] = {}
        for name, value in (await self._stats(_INBOUND)).items():
            _, prefix, counter = name.split(".", 2)
            amount = Amount(requests=value) if counter == "downstream_rq_completed" else Amount(bytes=value)
            amounts[prefix] = amounts.get(prefix, Amount()) + amount
        here = self.container
        return [
            (Link(here.service, prefix.removeprefix(stat_prefix("")), here.node), amount)
            for prefix, amount in amounts.items()
            if prefix != stat_prefix(ELSEWHERE)
        ]

    async def open_endpoints(self) -> frozenset[str]:
        """Return the ``address:port`` of every server to which this sidecar has a connection open."""
        found = set()
        for cluster in (await self._json("/clusters", {"format": "json"})).get("cluster_statuses", ()):
            if not cluster["name"].startswith("outbound|"):
                continue
            for host in cluster.get("host_statuses", ()):
                active = [stat.get("value", "0") for stat in host["stats"] if stat["name"] == "cx_active"]
                if any(int(value) for value in active):
                    socket = host["address"]["socket_address"]
                    found.add(f"{socket['address']}:{socket['port_value']}")
        return frozenset(found)

    async def config_counters(self) -> Mapping[str, int]:
        """Return the counters that move when a change of configuration is taken over."""
        return await self._stats(_CONFIG)

    async def _stats(self, pattern: str) -> dict[str, int]:
        answer = await self._json("/stats", {"filter": pattern, "format": "json"})
        return {stat["name"]: stat["value"] for stat in answer["stats"] if "name" in stat}

    async def _json(self, path: str, query: Mapping[str, str]) -> Any:
        try:
            async with self._session.get(self._url(path), params=query) as response:
                return await response.json()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise LabError(
                f"sidecar of {self.container.name}: admin {path}: {str(error) or type(error).__name__}"
            ) from error

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@asynccontextmanager
async def admin_session() -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a session for all sidecars' admin interfaces; proxies of the environment are not asked."""
    timeout = aiohttp.ClientTimeout(total=READ_DEADLINE_S)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
        yield session


async def all_inbound_traffic(sidecars: Mapping[str, EnvoyAdmin]) -> list[tuple[Link, Amount]]:
    """Return the readings of all sidecars, taken together."""
    readings = await asyncio.gather(*(admin.inbound_traffic() for admin in sidecars.values()))
    return [entry for reading in readings for entry in reading]


async def inbound_by_container(sidecars: Mapping[str, EnvoyAdmin]) -> Mapping[str, list[tuple[Link, Amount]]]:
    """Return the reading of each sidecar, a few at a time: many sidecars on few processors answer slowly."""
    places = asyncio.Semaphore(READ_AT_ONCE)

    async def read(admin: EnvoyAdmin) -> list[tuple[Link, Amount]]:
        async with places:
            return await admin.inbound_traffic()

    readings = await asyncio.gather(*(read(admin) for admin in sidecars.values()))
    return dict(zip(sidecars, readings, strict=True))


async def count_connections(sidecars: Mapping[str, EnvoyAdmin]) -> int:
    """Return how many distinct (client, endpoint) pairs have a connection open."""
    found = await asyncio.gather(*(admin.open_endpoints() for admin in sidecars.values()))
    return sum(len(endpoints) for endpoints in found)
