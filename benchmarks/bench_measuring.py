"""What does it cost to measure one container's links, by way of measuring? Prints ratios to a packet capture.

Two network namespaces, 200 standing TCP connections with steady requests and some short connections a second, made by a
process of its own. Each way watches the client for one window. The capture is the paper's way (OptTraffic sniffs with
iftop). Costs are the processor time of the measuring thread; what the capture adds to the kernel's work for each packet
falls on whoever sends it, and is not in them. Needs root and iproute2; the sidecar row needs Envoy.

    python benchmarks/bench_measuring.py [--connections 200] [--requests-per-s 2000] [--windows 5]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path

import aiohttp

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the namespaces of the tests

from pyroute2.netlink.diag import DiagSocket

from enforcer.inet_diag import STATES
from enforcer.network_namespace import ContainerNetwork, open_inside
from enforcer.packet_capture import PacketCapture
from enforcer.socket_counters import SocketCounters
from mesh.link_measurement import LinkMeasurer, Measurement
from mesh.topology import Container, ContainerName, NodeName, ServiceName
from tests.real.network_namespaces import Host, Talk, missing, two_hosts
from tests.real.outside_process import free_ports, until
from xds_server.ingest.cluster_bytes import STATS_PATH
from xds_server.ingest.scrape import SidecarCounters

REQUEST_BYTES, RESPONSE_BYTES = 500, 4000
SHORT_EVERY = 20  # one exchange in so many goes over a connection of its own
CLUSTERS = 50
CLIENT = Container(ContainerName("client"), ServiceName("client.bench"), NodeName("n1"), "198.51.100.1")


def make_traffic(client: Host, server: Host, ready: Event, stop: Event, connections: int, per_s: float) -> None:
    """Exchange requests over the connections in turn, ``per_s`` a second, until ``stop``."""
    with server.listen(server.ipv4, port=5001) as listener:
        talks = [Talk.over(opened, listener) for opened in client.clients(listener, count=connections)]
        ready.set()
        started, done = time.monotonic(), 0
        while not stop.is_set():
            due = int((time.monotonic() - started) * per_s)
            for number in range(done, due):
                short = number % SHORT_EVERY == 0
                talk = Talk.between(client, listener) if short else talks[number % connections]
                talk.exchange(request_bytes=REQUEST_BYTES, response_bytes=RESPONSE_BYTES)
                if short:
                    talk.close()
            done = max(done, due)
            time.sleep(0.005)


@contextmanager
def traffic(client: Host, server: Host, connections: int, per_s: float) -> Iterator[None]:
    """Run the traffic in a process of its own."""
    context = multiprocessing.get_context("fork")
    ready, stop = context.Event(), context.Event()
    process = context.Process(target=make_traffic, args=(client, server, ready, stop, connections, per_s))
    process.start()
    try:
        if not ready.wait(20.0):
            raise SystemExit("the traffic did not start")
        yield
    finally:
        stop.set()
        process.join(10.0)
        if process.is_alive():
            process.kill()


def pyroute2_snapshots_cpu_s(host: Host) -> float:
    """Return what two snapshots cost when pyroute2 reads them: the decoding alone, no reports, no sums."""

    def read() -> float:
        import socket

        with DiagSocket() as asking:
            asking.bind()
            started = time.thread_time()
            for _ in range(2):
                for family in (socket.AF_INET, socket.AF_INET6):
                    asking.get_sock_stats(family=family, states=STATES, extensions=2)
            return time.thread_time() - started

    return open_inside(host.namespace, read)


@contextmanager
def idle_envoy() -> Iterator[str | None]:
    """Yield the statistics page of an Envoy with ``CLUSTERS`` outbound clusters; None where there is no Envoy."""
    binary = Path(sys.executable).parent / "envoy"
    if not binary.exists():
        yield None
        return
    admin, nobody = free_ports(2)
    endpoint = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": nobody}}}
    names = [f"outbound|80||s{number}.bench.svc.cluster.local" for number in range(CLUSTERS)]
    clusters = [
        {
            "name": name,
            "type": "STATIC",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
        }
        for name in names
    ]
    config = {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
        "static_resources": {"clusters": clusters},
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "envoy.json"
        file.write_text(json.dumps(config))
        process = subprocess.Popen([binary, "-c", file, "--disable-hot-restart", "--concurrency", "1", "-l", "off"])
        try:
            yield f"http://127.0.0.1:{admin}{STATS_PATH}"
        finally:
            process.terminate()
            process.wait(10.0)


async def windows(measurer: LinkMeasurer, count: int) -> list[Measurement]:
    """Return ``count`` measurements of one second each."""
    results = []
    for _ in range(count):
        result = await measurer.measure(CLIENT, window_s=1.0)
        if not isinstance(result, Measurement):
            raise SystemExit(f"{measurer.method}: {result.reason}")
        results.append(result)
    return results


async def sidecar_windows(url: str, count: int) -> list[Measurement]:
    """Return ``count`` measurements through the idle Envoy."""
    async with aiohttp.ClientSession() as session:
        measurer = SidecarCounters(lambda _: url, session)

        async def answers() -> bool:
            try:
                return bool((await measurer.scrape(url)).clusters)
            except Exception:  # noqa: BLE001 - not up yet, whatever it says
                return False

        await until(answers)
        return await windows(measurer, count)


def report(rows: dict[str, list[Measurement]], pyroute2_cpu_s: float) -> None:
    """Print the table."""
    costs = {name: statistics.median(one.cost_cpu_s for one in results) for name, results in rows.items()}
    capture_s = costs["capture"]
    print(f"{'way':<22}{'CPU ms/window':>14}{'capture / way':>15}{'MB/s seen':>11}  complete")
    for name, results in rows.items():
        seen = statistics.median((one.bytes_sent + one.bytes_received) / one.window_s for one in results) / 1e6
        complete = f"{sum(one.complete for one in results)}/{len(results)}"
        print(f"{name:<22}{costs[name] * 1e3:>14.2f}{capture_s / costs[name]:>14.1f}x{seen:>11.2f}  {complete}")
    ratio = capture_s / pyroute2_cpu_s
    print(f"{'(2 pyroute2 snapshots)':<22}{pyroute2_cpu_s * 1e3:>14.2f}{ratio:>14.1f}x{'-':>11}  decoding only")
    for note in rows["capture"][0].notes:
        print(f"capture: {note}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--requests-per-s", type=float, default=2000.0)
    parser.add_argument("--windows", type=int, default=5)
    arguments = parser.parse_args()
    if missing():
        print(f"skipped: {missing()}")
        return
    with two_hosts() as (client, server), traffic(client, server, arguments.connections, arguments.requests_per_s):
        network = ContainerNetwork(client.namespace)
        rows: dict[str, list[Measurement]] = {}
        with idle_envoy() as url:
            if url is not None:
                rows[f"sidecar, {CLUSTERS} clusters"] = asyncio.run(sidecar_windows(url, arguments.windows))
        rows["sockets"] = asyncio.run(windows(SocketCounters(lambda _: network), arguments.windows))
        rows["capture"] = asyncio.run(windows(PacketCapture(lambda _: network), arguments.windows))
        report(rows, pyroute2_snapshots_cpu_s(client))


if __name__ == "__main__":
    main()
