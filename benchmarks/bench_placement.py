"""What does it cost to say where a pod should go? 5,000 pods of 1,000 services on 1,000 nodes, all nodes asked.

Against two peers, in the same run: the sum as NetMARKS' plugin forms it (each node, each pod there, the flow of the
pair both ways; same scores, asserted), and over HTTP an aiohttp handler that answers the same bytes without a thought.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from statistics import median

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry

from askew.pod_placing import PodPlacer
from askew.scheduler_page import SchedulerPage
from istio.extender import host_priorities
from istio.objects import Pod
from mesh.picture import Link
from mesh.topology import Container, ContainerName, Node, NodeName, Service, ServiceName, Topology

SERVICES, REPLICAS, NODES, CALLS = 1000, 5, 1000, 10


def world(rng: random.Random) -> tuple[Topology, tuple[Link, ...]]:
    """Return a mesh of random places and links; each service calls ten others."""
    nodes = [NodeName(f"node-{index}.eu-central-1.compute.internal") for index in range(NODES)]
    names = [ServiceName(f"service-{index}.shop") for index in range(SERVICES)]
    services = []
    for name in names:
        pods = [ContainerName(f"{name.split('.')[0]}-{index}.shop") for index in range(REPLICAS)]
        services.append(
            Service(name, containers=tuple(Container(pod, name, rng.choice(nodes), "10.0.0.1") for pod in pods))
        )
    ends = {(client, server) for client in names for server in rng.sample(names, CALLS) if client != server}
    pairs = sorted(ends | {(server, client) for client, server in ends})
    links = tuple(Link(*pair, float(rng.randrange(1, 10**6)), "measured") for pair in pairs)
    return Topology(nodes=tuple(Node(name) for name in nodes), services=tuple(services)), links


def as_published(topology: Topology, links: tuple[Link, ...]) -> Callable[[str, list[str]], list[int]]:
    """Return NetMARKS' sum, formed node by node and pod by pod; flows and pods are at hand in mappings."""
    flows = {(link.source, link.target): link.rate_bytes_per_s for link in links}
    standing: dict[str, list[Container]] = {node.name: [] for node in topology.nodes}
    for container in topology.container_by_name.values():
        standing[container.node].append(container)
    replicas = Counter(container.service for container in topology.container_by_name.values())

    def scores(workload: str, nodes: list[str]) -> list[int]:
        raw = [
            sum(
                (flows.get((pod.service, workload), 0.0) + flows.get((workload, pod.service), 0.0))
                / replicas[pod.service]
                for pod in standing[node]
            )
            for node in nodes
        ]
        most = max(raw)
        return [round(10 * one / most) for one in raw]

    return scores


def median_s(work: Callable[[int], object], times: int) -> float:
    """Return the median time of a call."""
    taken = []
    for index in range(times):
        started_s = time.perf_counter()
        work(index)
        taken.append(time.perf_counter() - started_s)
    return median(taken)


async def median_http_s(app: web.Application, paths: dict[str, bytes], times: int) -> dict[str, float]:
    """Return the median time of a request to each path, asked in turn over one connection."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    taken: dict[str, list[float]] = {path: [] for path in paths}
    async with aiohttp.ClientSession() as http:
        for _ in range(times):
            for path, body in paths.items():
                started_s = time.perf_counter()
                async with http.post(url + path, data=body) as response:
                    await response.read()
                taken[path].append(time.perf_counter() - started_s)
    await runner.cleanup()
    return {path: median(found) for path, found in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200, help="questions asked of each")
    times = parser.parse_args().times
    topology, links = world(random.Random(1))
    nodes = [str(node.name) for node in topology.nodes]
    placer = PodPlacer(lambda: (topology, links), names_of=lambda pod: [f"{pod.labels['app']}.shop"])
    peer = as_published(topology, links)
    started_s = time.perf_counter()
    pods = [Pod("shop", "new", labels={"app": f"service-{index}"}) for index in range(SERVICES)]
    placer.scores(pods[0], nodes)
    first_s = time.perf_counter() - started_s
    for index in range(0, SERVICES, 20):
        ours, theirs = placer.scores(pods[index], nodes), peer(f"service-{index}.shop", nodes)
        assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) == 0, index
    ours_s = median_s(lambda index: placer.scores(pods[index % SERVICES], nodes), times)
    peer_s = median_s(lambda index: peer(f"service-{index % SERVICES}.shop", nodes), times)
    print(f"{SERVICES * REPLICAS} pods, {NODES} nodes, {SERVICES} services, {len(links)} links; medians of {times}")
    print(f"scores        askew {ours_s * 1e3:7.3f} ms   as published {peer_s * 1e3:7.3f} ms   x{peer_s / ours_s:.1f}")
    print(f"first of a tick (links indexed): {first_s * 1e3:.1f} ms")

    question = {"Pod": {"metadata": {"name": "new", "namespace": "shop", "labels": {"app": "service-1"}}}}
    body = json.dumps(question | {"NodeNames": nodes}).encode()
    constant = json.dumps(host_priorities(nodes, placer.scores(pods[1], nodes))).encode()

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=constant, content_type="application/json")

    app = web.Application()
    app.add_routes([*SchedulerPage(placer, CollectorRegistry()).routes(), web.post("/constant", answer)])
    found = asyncio.run(median_http_s(app, {"/scheduler/prioritize": body, "/constant": body}, times))
    ours_s, peer_s = found["/scheduler/prioritize"], found["/constant"]
    print(f"over HTTP     askew {ours_s * 1e3:7.3f} ms   constant     {peer_s * 1e3:7.3f} ms   x{ours_s / peer_s:.1f}")


if __name__ == "__main__":
    main()
