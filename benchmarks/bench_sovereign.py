"""What does a REST poll cost the server, beside sovereign 0.32.12, the other control plane in Python?

100 ClusterLoadAssignments of 10 endpoints. Each server is a process of its own with one worker, its logs off; they take
turns. Sovereign has its fastest kind of template, Python code over a context in memory, and no Redis cache; it is
installed from the package registry into a folder that is removed at the end. Askew's long poll is off
(``rest_hold_s=0``), as sovereign has none; with it, an unchanged poll costs the same and comes less often.

    python benchmarks/bench_sovereign.py [--seconds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SOVEREIGN = "sovereign==0.32.12"
CLUSTERS, ENDPOINTS, INSTALL_LIMIT_S = 100, 10, 120
NAMES = [f"outbound|8080||s{s}.default.svc.cluster.local" for s in range(CLUSTERS)]
TEMPLATE = """
def call(services, **_):
    for name, endpoints in services.items():
        yield {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}
"""
LAUNCHER = """
import sys
import uvicorn
from sovereign.app import app  # before there is a loop: it runs one of its own
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="error")
"""


def install(folder: Path) -> str:
    """Make an environment with sovereign in it; return why not, or nothing."""
    venv.create(folder / "venv", with_pip=True)
    command = [folder / "venv/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", SOVEREIGN]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"pip took longer than {INSTALL_LIMIT_S} s"
    return (done.stderr.strip().splitlines() or ["pip said nothing"])[-1] if done.returncode else ""


def endpoint(cluster: int, number: int) -> dict[str, Any]:
    """Return an endpoint as sovereign's users write it; the same address as in Askew's topology."""
    address = {"socket_address": {"address": f"10.1.{cluster}.{number + 1}", "port_value": 8080}}
    return {"endpoint": {"address": address}, "load_balancing_weight": 100}


@contextmanager
def process(command: list[object], environment: dict[str, str]):  # type: ignore[no-untyped-def]
    """Run a server and end it."""
    started = subprocess.Popen([str(word) for word in command], env=os.environ | environment, stderr=subprocess.DEVNULL)
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def sovereign_server(folder: Path, port: int):  # type: ignore[no-untyped-def]
    """Configure sovereign and start it with one worker."""
    services = {name: [endpoint(s, c) for c in range(ENDPOINTS)] for s, name in enumerate(NAMES)}
    context = {"services": {"protocol": "inline", "serialization": "json", "path": json.dumps(services)}}
    template = {"type": "endpoints", "spec": {"protocol": "python", "path": str(folder / "endpoints.py")}}
    (folder / "endpoints.py").write_text(TEMPLATE)
    (folder / "launch.py").write_text(LAUNCHER)
    config = {"templates": {"default": [template]}, "template_context": {"context": context}}
    (folder / "sovereign.yaml").write_text(json.dumps(config))
    environment = {
        "SOVEREIGN_CONFIG": f"file://{folder}/sovereign.yaml",
        "SOVEREIGN_ENABLE_ACCESS_LOGS": "false",
        "SOVEREIGN_ENABLE_APPLICATION_LOGS": "false",
    }
    return process([folder / "venv/bin/python", folder / "launch.py", port], environment)


async def serve_askew(port: int) -> None:
    """Be the Askew peer: its store, its resources and its REST discovery, until ended."""
    from aiohttp import web
    from prometheus_client import CollectorRegistry
    from xds_peers import service_plan, topology

    from mesh.plan import Plan
    from xds_server.metrics import XdsMetrics
    from xds_server.resources.client_config import ClientConfigs
    from xds_server.rest import RestDiscovery
    from xds_server.settings import XdsSettings
    from xds_server.store import Store

    mesh = topology(1, services=CLUSTERS, endpoints=ENDPOINTS)
    services = [service for service in mesh.services if service.ports]
    plan = Plan(0, {s.service_port(s.ports[0]): service_plan(mesh, s, 0) for s in services})
    configs = ClientConfigs(mesh, plan)
    store = Store(lambda proxy: configs.snapshot(mesh.container_by_proxy_id[proxy.id]))
    app = web.Application()
    app.add_routes(RestDiscovery(store, XdsSettings(rest_hold_s=0.0), XdsMetrics(CollectorRegistry())).routes())
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


class Poller:
    """Polls one server over one connection, as a sidecar does."""

    def __init__(self, server: subprocess.Popen[bytes], port: int) -> None:
        self._server, self._connection = server, http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def wait(self) -> None:
        """Wait until the server listens."""
        until_s = time.monotonic() + 30.0
        while time.monotonic() < until_s and self._server.poll() is None:
            try:
                return self._connection.connect()
            except ConnectionRefusedError:
                time.sleep(0.1)
        raise RuntimeError(f"{self._server.args} does not listen")

    def poll(self, names: list[str], version: str) -> tuple[int, bytes]:
        """Return status and body."""
        message = {"node": {"id": "l0.default", "cluster": "load"}, "resource_names": names, "version_info": version}
        headers = {"content-type": "application/json"}
        self._connection.request("POST", "/v3/discovery:endpoints", json.dumps(message), headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def version_of(self, names: list[str]) -> str:
        """Fetch the assignments, check that they are whole, and return their version."""
        status, body = self.poll(names, "")
        answer = json.loads(body)
        held = sum(len(g["lb_endpoints"]) for one in answer["resources"] for g in one["endpoints"])
        if (status, len(answer["resources"]), held) != (200, len(names), len(names) * ENDPOINTS):
            raise RuntimeError(f"found {status}, {len(answer['resources'])} assignments of {held} endpoints")
        return str(answer["version_info"])

    def cpu_ms(self, names: list[str], version: str, seconds: float) -> float:
        """Poll for some seconds, nothing being new; return the server's CPU time for one poll."""
        until_s, polls, before_s = time.monotonic() + seconds, 0, self._cpu_s()
        while time.monotonic() < until_s:
            status, _ = self.poll(names, version)
            if status != 304:
                raise RuntimeError(f"found status {status}, expected 304 (not modified)")
            polls += 1
        return (self._cpu_s() - before_s) / polls * 1e3

    def _cpu_s(self) -> float:
        fields = Path(f"/proc/{self._server.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def compare(askew: Poller, sovereign: Poller, seconds: float) -> None:
    """Print CPU for one poll of each kind, and the ratio."""
    kinds = (("unchanged, all named", NAMES), ("unchanged, one named", NAMES[:1]))
    print(f"{'poll':<28}{'Askew':>11}{'sovereign':>12}{'ratio':>8}   (CPU of the server, {CLUSTERS} x {ENDPOINTS})")
    for kind, names in kinds:
        costs: list[list[float]] = [[], []]
        versions = [one.version_of(names) for one in (askew, sovereign)]
        for _ in range(2):  # by turns, so that a slow minute hits both
            for i, one in enumerate((askew, sovereign)):
                costs[i].append(one.cpu_ms(names, versions[i], seconds / 2))
        ours_ms, theirs_ms = (sum(one) / len(one) for one in costs)
        print(f"{kind:<28}{ours_ms:8.3f} ms{theirs_ms:9.3f} ms{ours_ms / theirs_ms:8.3f}")


def free_ports() -> tuple[int, int]:
    """Return two ports that were free a moment ago."""
    import socket

    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def main() -> None:
    """Install the peer, run both, or say why not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each kind of poll and server")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve_askew(arguments.serve))
    with tempfile.TemporaryDirectory(prefix="askew-sovereign-") as folder:
        if refusal := install(Path(folder)):
            print(f"left out, {SOVEREIGN} cannot be installed: {refusal}")
            return
        ports = free_ports()
        ours = process([sys.executable, __file__, "--serve", ports[0]], {})
        with ours as askew, sovereign_server(Path(folder), ports[1]) as sovereign:
            pollers = Poller(askew, ports[0]), Poller(sovereign, ports[1])
            for poller in pollers:
                poller.wait()
            compare(*pollers, arguments.seconds)


if __name__ == "__main__":
    main()
