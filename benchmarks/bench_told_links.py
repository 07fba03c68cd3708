"""What CPU do links cost that a Prometheus tells of? 5,000 pods' counters, 20,000 links that Istio's sidecars count.

First one reading of pods' counters, as ratios to ``json.loads`` of the same three answers, and to that of the samples
themselves (a window of 300 s, a scrape each 15 s, the kubelet's labels), which Prometheus makes the rates of; and for
how long at most the event loop had no turn meanwhile. Then a tick with the told links, against making and sorting them
anew; and what the replicas are told in it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

from askew.replication.parts import PartWriter
from estimators.live_links import LiveLinks
from estimators.pod_links import OpenLinks, open_links, pod_links
from estimators.told_links import told_links, with_told_links
from istio.network_counters import RECEIVE, TRANSMIT, NetworkCounters, Pod, pod_rates
from istio.prometheus import Answer, Prometheus, parse_answer
from mesh.picture import Link, Picture
from mesh.policy import Policy
from mesh.telemetry import ByteExchange, ToldLinks
from mesh.topology import Call, Container, ContainerName, Node, NodeName, Service, ServiceName, Topology

ROUNDS = 7
REPLICAS, NODES = 5, 100
WINDOW_S, SCRAPE_S, NOW_S = 300.0, 15.0, 1_800_000_000.0


def world(pods: int, rng: random.Random) -> tuple[Topology, list[Call]]:
    """Return a mesh whose calls are a tree and some more; every tenth service is planned for."""
    names = [ServiceName(f"service-{index}.shop") for index in range(pods // REPLICAS)]
    services = []
    for index, name in enumerate(names):
        own = [ContainerName(f"service-{index}-7d9f5c6b8-{place}.shop") for place in range(REPLICAS)]
        containers = tuple(
            Container(one, name, NodeName(f"node-{rng.randrange(NODES)}"), "10.0.0.1", proxy=one) for one in own
        )
        services.append(Service(name, (), Policy(routing="off" if index % 10 else "local-first"), containers))
    calls = [Call(names[rng.randrange(index)], names[index]) for index in range(1, len(names))]
    calls += [Call(*rng.sample(names, 2)) for _ in range(len(names) // 20)]
    nodes = tuple(Node(NodeName(f"node-{index}")) for index in range(NODES))
    return Topology(nodes=nodes, services=tuple(services), calls=tuple(calls)), calls


def sums(topology: Topology, calls: Iterable[Call]) -> dict[ContainerName, tuple[float, float]]:
    """Return what each pod receives and sends a second: 1 kB there and 10 kB back for each call of its service."""
    of: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for call in calls:
        for end, received, sent in ((call.client, 10_000.0, 1000.0), (call.server, 1000.0, 10_000.0)):
            of[end][0] += received / REPLICAS
            of[end][1] += sent / REPLICAS
    return {name: (of[one.service][0], of[one.service][1]) for name, one in topology.container_by_name.items()}


def body_of(kind: str, result: list[object]) -> bytes:
    """Return an answer as Prometheus writes it."""
    return json.dumps(
        {"status": "success", "data": {"resultType": kind, "result": result}}, separators=(",", ":")
    ).encode()


def bodies_of(topology: Topology, calls: Iterable[Call]) -> list[bytes]:
    """Return the answers to the three queries: what pods receive, what they send, and when they were scraped."""
    rates = sums(topology, calls)
    return [
        body_of("vector", [{"metric": {"interface": "eth0", "namespace": "shop", "pod": name.removesuffix(".shop")},
                            "value": [NOW_S, str(value)]} for name, value in column.items()])
        for column in (
            {name: received for name, (received, _) in rates.items()},
            {name: sent for name, (_, sent) in rates.items()},
            dict.fromkeys(rates, NOW_S - 7.123),
        )
    ]  # fmt: skip


def samples_body(metric: str, topology: Topology, rng: random.Random) -> bytes:
    """Return what Prometheus would answer if it were asked for the samples of the window."""
    result: list[object] = []
    for place, (name, container) in enumerate(topology.container_by_name.items()):
        digest, offset_s = f"{rng.getrandbits(256):064x}", place * 0.37 % SCRAPE_S
        labels = {
            "__name__": metric, "endpoint": "https-metrics", "id": f"/kubepods/burstable/pod{digest[:36]}/{digest}",
            "image": "registry.k8s.io/pause:3.9", "instance": f"10.1.0.{container.node}:10250", "interface": "eth0",
            "job": "kubelet", "metrics_path": "/metrics/cadvisor", "name": digest, "namespace": "shop",
            "node": container.node, "pod": name.removesuffix(".shop"), "service": "prometheus-kubelet",
        }  # fmt: skip
        times = [NOW_S - WINDOW_S + offset_s + SCRAPE_S * number for number in range(int(WINDOW_S / SCRAPE_S))]
        values = [[round(at_s, 3), str(round(5e9 + 1e4 * (at_s - NOW_S + WINDOW_S)))] for at_s in times]
        result.append({"metric": labels, "values": values})
    return body_of("matrix", result)


def cpu_s(work: Callable[[], object]) -> float:
    """Return the least CPU time of a few rounds: others share the machine."""
    times = []
    for _ in range(ROUNDS):
        began_s = time.process_time()
        work()
        times.append(time.process_time() - began_s)
    return min(times)


class Answering(Prometheus):
    """Answers with these bodies in turn, read as an answer over HTTP is."""

    def __init__(self, bodies: Iterable[bytes]) -> None:
        self._bodies = iter(bodies)

    async def instant(self, query: str, *, time_s: float | None = None) -> Answer:
        """Return the next."""
        return await asyncio.to_thread(parse_answer, next(self._bodies))


async def longest_wait_s(work: Callable[[], Awaitable[object]]) -> float:
    """Return for how long at most the loop had no turn while ``work`` ran."""
    longest = 0.0

    async def beat() -> None:
        nonlocal longest
        while True:
            before_s = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - before_s - 0.001)

    beating = asyncio.create_task(beat())
    await asyncio.sleep(0.01)
    await work()
    beating.cancel()
    return longest


def reading(pods: int, rng: random.Random) -> None:
    """Print what one reading of pods' counters costs."""
    topology, calls = world(pods, rng)
    bodies = bodies_of(topology, calls)
    samples = [samples_body(metric, topology, rng) for metric in (RECEIVE, TRANSMIT)]
    names: dict[Pod, ContainerName] = {("shop", one.removesuffix(".shop")): one for one in topology.container_by_name}
    wanted = open_links(topology, (), {}, ())
    assert isinstance(wanted, OpenLinks)
    answers = [parse_answer(body) for body in bodies]
    found = pod_rates(*answers, names, oldest_s=NOW_S - WINDOW_S / 2)
    links = pod_links(topology, wanted, {}, found.pods).links
    assert links
    json_s, samples_s = (cpu_s(lambda many=many: [json.loads(one) for one in many]) for many in (bodies, samples))  # type: ignore[misc]
    parts = {
        "parse the answers": cpu_s(lambda: [parse_answer(body) for body in bodies]),
        "join them": cpu_s(lambda: pod_rates(*answers, names, oldest_s=NOW_S - WINDOW_S / 2)),
        "find what is open": cpu_s(lambda: open_links(topology, (), {}, ())),
        "rates to links": cpu_s(lambda: pod_links(topology, wanted, {}, found.pods)),
    }

    async def whole() -> None:
        rates = await NetworkCounters(Answering(bodies), window_s=WINDOW_S).read(names, time_s=NOW_S)
        await asyncio.to_thread(pod_links, topology, wanted, {}, rates.pods)

    waits = [asyncio.run(longest_wait_s(whole)) for _ in range(5)]
    size, size_of_samples = (sum(map(len, many)) / 1e6 for many in (bodies, samples))
    print(f"{len(found.pods)} pods in {size:.1f} MB, their samples would be {size_of_samples:.1f} MB")
    print(f"{len(links)} links of {2 * len(wanted.calls)} are told")
    print(f"json.loads of the answers: {json_s * 1e3:.1f} ms; of the samples: {samples_s / json_s:.1f} x")
    for part, seconds in {**parts, "all of it": sum(parts.values())}.items():
        print(f"{part:20} {seconds * 1e3:7.1f} ms = {seconds / json_s:5.2f} x json.loads")
    print(f"in threads the loop waits {min(waits) * 1e3:.0f} ms at most for its turn")


def telling(rng: random.Random) -> None:
    """Print what a tick with told links costs, and what replicas are told of them."""
    names = [f"service-{index}.shop" for index in range(1000)]
    ends = {(min(pair), max(pair)) for name in names for pair in zip([name] * 11, rng.sample(names, 11), strict=True)}
    pairs = sorted(pair for pair in ends if pair[0] != pair[1])[: 10 * len(names)]
    exchanges = [
        ByteExchange(ServiceName(one), ServiceName(other), 990.0, WINDOW_S, rng.random() * 1e6, rng.random() * 1e6, 0.1)
        for one, other in pairs
    ]
    told, services = ToldLinks(1000.0, WINDOW_S, told_links(exchanges)), dict.fromkeys(names)
    measured = LiveLinks(tuple(Link(*pair, rng.random() * 1e6, "measured") for pair in pairs[:1000]))
    anew_s = cpu_s(lambda: told_links(exchanges))
    print(f"{len(told.links)} told links made and sorted anew: {anew_s * 1e3:.0f} ms")
    for label, own in (("nobody else tells", LiveLinks()), ("sidecars measure 1,000", measured)):
        tick_s = cpu_s(lambda own=own: with_told_links(own, told, services=services.keys(), now_s=1010.0))  # type: ignore[misc]
        print(f"a tick, {label}: {tick_s * 1e3:.3f} ms = {tick_s / anew_s:.4f} of that")
    for label, shift_s in (("the same", 0.0), ("all others", 5.0)):
        writer: PartWriter[Picture] = PartWriter(Picture)
        writer.changes(Picture(links=told.links))
        later = told.links if not shift_s else tuple(replace(one, time_s=995.0) for one in told.links)
        began_s = time.process_time()
        size = len(writer.changes(Picture(links=later)))
        taken_s = time.process_time() - began_s
        print(f"replicas are told, links being {label}: {size / 1e3:.1f} kB, {taken_s * 1e3:.2f} ms")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=5000)
    options = parser.parse_args()
    rng = random.Random(3)
    reading(options.pods, rng)
    telling(rng)


if __name__ == "__main__":
    main()
