"""How right are links that only whole pods' counters tell of? Simulated meshes, some of whose services talk to outside.

200 services of three pods, a random call tree and further calls, log-normal bytes, heads of 5 %, scrapes that differ
by 1 %; whoever nobody calls is asked from outside, as much again as inside. Printed are the part of the links that is
told, how far these are off, and which part of all their bytes is wrong: against ``estimate_links`` on the same
counters, which takes every byte as the mesh's and tells every link.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from estimators.link_traffic import estimate_links
from estimators.pod_links import open_links, pod_links
from estimators.window_totals import WindowTotals
from mesh.picture import Link
from mesh.policy import Policy
from mesh.telemetry import PodBytes
from mesh.topology import Call, Container, ContainerName, Node, NodeName, Service, ServiceName, Topology

SERVICES, REPLICAS, REACH = 200, 3, 40
HEADS, SCRAPES = 1.05, 0.01
Ends = tuple[str, str]


@dataclass(frozen=True)
class World:
    """What is so, and what pods count of it."""

    topology: Topology
    calls: list[Call]
    truth: Mapping[Ends, float]
    pods: list[PodBytes]


def world(rng: random.Random, *, further: float, outside: float, as_much: float) -> World:
    """Return a mesh with ``further`` calls a service beyond the tree.

    A part ``outside`` of the services exchanges with others than the mesh, about ``as_much`` as within.
    """
    names = [ServiceName(f"service-{index}.shop") for index in range(SERVICES)]
    policy, node = Policy(routing="local-first"), NodeName("n1")
    services = []
    for name in names:
        own = [ContainerName(f"{name.removesuffix('.shop')}-{index}.shop") for index in range(REPLICAS)]
        containers = tuple(Container(one, name, node, "10.0.0.1", proxy=one) for one in own)
        services.append(Service(name, (), policy, containers))
    tree = [Call(names[rng.randrange(max(0, index - REACH), index)], names[index]) for index in range(1, SERVICES)]
    more = [Call(*(names[i] for i in sorted(rng.sample(range(SERVICES), 2)))) for _ in range(int(further * SERVICES))]
    calls = list(dict.fromkeys(tree + more))
    truth: dict[Ends, float] = {}
    for call in calls:
        truth[call.client, call.server] = 1e4 * rng.lognormvariate(0.0, 1.5)
        truth[call.server, call.client] = truth[call.client, call.server] * rng.lognormvariate(1.0, 1.0)
    received, sent = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    for (source, target), rate in truth.items():
        sent[ServiceName(source)] += HEADS * rate
        received[ServiceName(target)] += HEADS * rate
    called = {call.server for call in calls}
    for name in names:
        if name not in called or rng.random() < outside:
            amount = (as_much if name in called else 1.0) * (received[name] + sent[name]) / 2
            received[name] += amount * rng.lognormvariate(0.0, 1.0)
            sent[name] += amount * rng.lognormvariate(0.0, 1.0)
    both = (received, sent)
    pods = [
        PodBytes(
            one.name, 1.0, *(rng.uniform(1 - SCRAPES, 1 + SCRAPES) * rate[service.name] / REPLICAS for rate in both)
        )
        for service in services
        for one in service.containers
    ]
    return World(Topology(nodes=(Node(node),), services=tuple(services)), calls, truth, pods)


def ours(found: World) -> tuple[Link, ...]:
    """Return the links that are told where calls are learnt."""
    wanted = open_links(found.topology, found.calls, {}, ())
    assert wanted is not None
    return pod_links(found.topology, wanted, {}, found.pods).links


def straight(found: World) -> tuple[Link, ...]:
    """Return what ``estimate_links`` makes of the same counters."""
    containers = {str(name): str(one.service) for name, one in found.topology.container_by_name.items()}
    totals = WindowTotals(
        1.0,
        {one.container: one.received_bytes_per_s for one in found.pods},
        {one.container: one.sent_bytes_per_s for one in found.pods},
    )
    return estimate_links(containers, [(call.client, call.server) for call in found.calls], totals).links


def report(name: str, worlds: Iterable[tuple[World, tuple[Link, ...]]]) -> float:
    """Print how right the links are; return which part of their bytes is wrong."""
    errors: list[float] = []
    wrong = told = links = 0.0
    for found, estimate in worlds:
        links += len(found.truth)
        for link in estimate:
            truth = found.truth[link.source, link.target]
            off = abs(link.rate_bytes_per_s - truth)
            errors.append(off / truth)
            wrong, told = wrong + off, told + truth
    twice = sum(error > 1.0 for error in errors) / len(errors)
    print(
        f"  {name:15} told {len(errors) / links:5.1%}   error median {median(errors):6.1%}"
        f"   more than all of it {twice:5.1%}   bytes wrong {wrong / told:6.1%}"
    )
    return wrong / told


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--meshes", type=int, default=10)
    meshes = parser.parse_args().meshes
    cases = [
        ("a tree, entries alone talk to outside", 0.0, 0.0, 0.0),
        ("5 % further calls, every 10th talks to outside a tenth as much", 0.05, 0.1, 0.1),
        ("20 % further calls, every 10th a third as much", 0.2, 0.1, 0.3),
        ("5 % further calls, every third as much as inside", 0.05, 0.3, 1.0),
    ]
    for label, further, outside, as_much in cases:
        print(label)
        worlds = [
            world(random.Random(seed), further=further, outside=outside, as_much=as_much) for seed in range(meshes)
        ]
        mine = report("told", [(found, ours(found)) for found in worlds])
        peer = report("estimate_links", [(found, straight(found)) for found in worlds])
        print(f"  {peer / mine:.1f} times less is wrong")


if __name__ == "__main__":
    main()
