"""A real Envoy that is configured as Istio's sidecar is: node id, ADS from istiod, SDS from its agent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import aiohttp

from tests.real.outside_process import free_port

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


class IstioSidecar:
    """``await start()``; ``await stop()`` ends the process."""

    def __init__(
        self, pod: str, address: str, *, istiod_port: int, envoy: Path, folder: Path, agent_port: int = 0
    ) -> None:
        self.pod, self.address = pod, address
        self.node_id = f"sidecar~{address}~{pod}.default~default.svc.cluster.local"
        self.admin_port = free_port()
        self.log = folder / f"{pod}.log"
        self._file, self._envoy, self._istiod_port = folder / f"{pod}.json", envoy, istiod_port
        self.metadata: dict[str, Any] = {"NAME": pod, "NAMESPACE": "default", "SERVICE_ACCOUNT": "default"}
        self._agent_port = agent_port or istiod_port
        self._process: asyncio.subprocess.Process | None = None

    async def start(
        self,
        *,
        concurrency: int = 1,
        static_clusters: tuple[dict[str, Any], ...] = (),
        stat_prefixes: tuple[str, ...] = (),
    ) -> None:
        """Start Envoy; it need not become ready. ``stat_prefixes``: it keeps only those statistics, as Istio's do."""
        bootstrap = self._bootstrap()
        if stat_prefixes:
            patterns = [{"prefix": one} for one in stat_prefixes]
            bootstrap["stats_config"] = {"stats_matcher": {"inclusion_list": {"patterns": patterns}}}
        bootstrap["static_resources"]["clusters"] += static_clusters
        self._file.write_text(json.dumps(bootstrap))
        arguments = ("--concurrency", str(concurrency), "--disable-hot-restart", "--log-level", "warning")
        with self.log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                str(self._envoy), "-c", str(self._file), *arguments, stdout=log, stderr=log
            )

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            os.kill(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    async def admin(self, path: str) -> str:
        """Return a page of the admin interface; empty while there is none yet."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
            try:
                async with http.get(f"http://127.0.0.1:{self.admin_port}{path}") as response:
                    return await response.text()
            except aiohttp.ClientError:
                return ""

    async def state(self) -> str:
        """Return LIVE, PRE_INITIALIZING or INITIALIZING; empty while it starts."""
        text = await self.admin("/server_info")
        return str(json.loads(text)["state"]) if text else ""

    async def is_live(self) -> bool:
        return await self.state() == "LIVE"

    async def weights(self, cluster: str) -> dict[str, int]:
        """Return address:port to weight of a cluster's endpoints at priority 0, as this Envoy has them."""
        text = await self.admin("/clusters?format=json")
        found = json.loads(text).get("cluster_statuses", []) if text else []
        hosts = next((one.get("host_statuses", []) for one in found if one["name"] == cluster), [])
        places = [(host["address"]["socket_address"], host) for host in hosts if not host.get("priority")]
        return {f"{place['address']}:{place['port_value']}": int(host.get("weight", 1)) for place, host in places}

    async def stats(self, pattern: str) -> dict[str, int]:
        """Return the counters and gauges whose names match."""
        text = await self.admin(f"/stats?format=json&filter={pattern}")
        return {one["name"]: one["value"] for one in json.loads(text)["stats"] if "value" in one} if text else {}

    def _bootstrap(self) -> dict[str, Any]:
        api = {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
        }
        ads = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
        # Istio's agent serves both on Unix sockets; here the stand-in of istiod does, or istiod itself the first.
        clusters = [_grpc_cluster("xds-grpc", self._istiod_port), _grpc_cluster("sds-grpc", self._agent_port)]
        return {
            "node": {
                "id": self.node_id,
                "cluster": f"{self.pod.rsplit('-', 1)[0]}.default",
                "metadata": self.metadata,
            },
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": self.admin_port}}},
            "dynamic_resources": {"ads_config": api, "cds_config": ads, "lds_config": ads},
            "static_resources": {"clusters": clusters},
            "layered_runtime": {
                "layers": [
                    {"name": "test", "static_layer": {"overload": {"global_downstream_max_connections": 2**31 - 1}}}
                ]
            },
        }


def _grpc_cluster(name: str, port: int) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "typed_extension_protocol_options": {
            HTTP_OPTIONS: {
                "@type": f"type.googleapis.com/{HTTP_OPTIONS}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
    }
