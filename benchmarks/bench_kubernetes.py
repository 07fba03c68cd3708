"""What does a cluster cost to keep up with? 5,000 pods and 1,000 Services, against reading the same objects as JSON.

Prints ratios to ``json.loads`` of the same bytes in the same run: pruning, the whole topology from nothing, the
topology after one slice has changed; and the memory that stays, against the bytes of the lists. Then what a tick costs
and how large the plan is with 50 managed Services: before anything is known of who calls whom, and with it learnt.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from askew.control_loop import Memory, tick
from askew.replication.value_codec import encode
from estimators.known_calls import KnownCalls, Span
from istio.cluster import Cluster
from istio.kinds import ENDPOINT_SLICES, NODES, PODS, SERVICES, Kind
from istio.pruning import key_of, prune
from istio.service_piece import TopologySettings
from istio.topology import TopologyBuilder, topology_of
from mesh.plan import Plan
from mesh.telemetry import Telemetry
from mesh.topology import Call, Topology

Body = dict[str, Any]
ROUNDS = 5
CALLERS = 3  # workloads that call each Service


def pod(number: int, services: int) -> Body:
    """Return a pod of the size that kubelets make them: about 6 kB of JSON."""
    app = f"app-{number % services}"
    conditions = [
        {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": "2026-01-01T00:00:00Z"}
        for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    ]
    environment = [{"name": f"VARIABLE_{i}", "value": f"value number {i} of {app}"} for i in range(30)]
    container = {"name": app, "image": f"registry.example/{app}:1.0", "env": environment}
    labels = {"app": app, "version": "v1", "pod-template-hash": "7d4b9c", "security.istio.io/tlsMode": "istio"}
    return {
        "metadata": {
            "name": f"{app}-7d4b9c-{number:05d}",
            "namespace": f"team-{number % 20}",
            "labels": labels,
            "annotations": {
                "sidecar.istio.io/status": json.dumps({"containers": ["istio-proxy"], "volumes": ["x"] * 20})
            },
            "ownerReferences": [{"kind": "ReplicaSet", "name": f"{app}-7d4b9c", "controller": True}],
            "managedFields": [{"manager": "kubelet", "fieldsV1": {f"f:{i}": {} for i in range(100)}}],
        },
        "spec": {"nodeName": f"node-{number % 100}", "serviceAccountName": app, "containers": [container, container]},
        "status": {
            "phase": "Running",
            "conditions": conditions,
            "podIP": address(number),
            "podIPs": [{"ip": address(number)}],
        },
    }


def address(number: int) -> str:
    """Return an address of a pod."""
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def slice_of(service: Body, pods: list[Body]) -> Body:
    """Return the slice of a Service's pods."""
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    endpoints = [
        {
            "addresses": [one["status"]["podIP"]],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": one["spec"]["nodeName"],
            "targetRef": {"kind": "Pod", "name": one["metadata"]["name"], "namespace": namespace},
        }
        for one in pods
    ]
    return {
        "metadata": {"name": f"{name}-abcde", "namespace": namespace, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints,
    }


def cluster_lists(pods: int, services: int, *, managed: int | None = None) -> dict[Kind, list[Body]]:
    """Return the objects of a cluster by kind; every tenth Service is managed where no number is given."""
    every = 10 if managed is None else max(1, services // managed)
    of_pods = [pod(number, services) for number in range(pods)]
    of_services, slices = [], []
    for number in range(services):
        own = of_pods[number::services]
        metadata = {"name": f"app-{number}", "namespace": f"team-{number % 20}"}
        if number % every == 0:
            metadata["annotations"] = {"askew.mesh/routing": "local-first"}  # type: ignore[assignment]
        port = {"name": "http", "port": 80, "targetPort": 8080}
        spec = {"type": "ClusterIP", "clusterIP": "10.96.0.1", "selector": {"app": f"app-{number}"}, "ports": [port]}
        of_services.append({"metadata": metadata, "spec": spec})
        slices.append(slice_of(of_services[-1], own))
    nodes = [
        {"metadata": {"name": f"node-{n}", "labels": {"topology.kubernetes.io/zone": f"z{n % 3}"}}} for n in range(100)
    ]
    return {NODES: nodes, PODS: of_pods, SERVICES: of_services, ENDPOINT_SLICES: slices}


def median_s(work: Callable[[], object]) -> float:
    """Return the median time of a few rounds."""
    times = []
    for _ in range(ROUNDS):
        gc.collect()
        began_s = time.perf_counter()
        work()
        times.append(time.perf_counter() - began_s)
    return statistics.median(times)


def filled(lists: dict[Kind, list[Body]]) -> Cluster:
    """Return a cluster that holds these objects, pruned."""
    cluster = Cluster()
    for kind, bodies in lists.items():
        for body in bodies:
            cluster.put(kind, key_of(body), prune(kind, body))
    return cluster


def learnt_calls(topology: Topology) -> KnownCalls:
    """Return what would be learnt where a few workloads call each Service and a Prometheus names them all."""
    names = [service.name for service in topology.services]
    calls = {
        Call(names[(i + far) % len(names)], name): 0.0 for i, name in enumerate(names) for far in range(1, CALLERS + 1)
    }
    return KnownCalls(600.0, 1.0, calls, servers={name: Span(0.0, 600.0) for name in names})


def compare_plans(pods: int, services: int, managed: int) -> None:
    """Print the cost of a tick and the size of its plan without and with learnt calls."""
    topology = topology_of(filled(cluster_lists(pods, services, managed=managed)), TopologySettings()).topology
    costs, rows, sizes = [], [], []
    for known in (KnownCalls(), learnt_calls(topology)):
        memory, _, plan = tick(Memory(calls=known), topology, Telemetry(time_s=1.0))
        costs.append(median_s(lambda memory=memory: tick(memory, topology, Telemetry(time_s=6.0))))  # type: ignore[misc]
        rows.append(sum(len(one.shares.clients) for one in plan.services.values()))
        sizes.append(len(encode(plan, Plan)))
    print(f"{managed} of {services} Services managed, each called by {CALLERS} workloads:")
    print(f"a tick: {costs[0] * 1e3:.0f} ms for everyone, {costs[1] * 1e3:.1f} ms learnt: {costs[0] / costs[1]:.0f} x")
    print(f"rows of the plan: {rows[0]} for everyone, {rows[1]} learnt: {rows[0] / rows[1]:.0f} x")
    print(f"the plan as it is sent: {sizes[0] / 1e6:.2f} MB, {sizes[1] / 1e6:.3f} MB: {sizes[0] / sizes[1]:.0f} x")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=5000)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--managed", type=int, default=50)
    args = parser.parse_args()
    lists = cluster_lists(args.pods, args.services)
    texts = {kind: [json.dumps(body) for body in bodies] for kind, bodies in lists.items()}
    size = sum(len(text) for several in texts.values() for text in several)
    parse_s = median_s(lambda: [json.loads(text) for several in texts.values() for text in several])
    prune_s = median_s(lambda: filled(lists))

    tracemalloc.start()
    cluster = Cluster()
    for kind, several in texts.items():  # one at a time, as a page of a list is read and let go
        for text in several:
            body = json.loads(text)
            cluster.put(kind, key_of(body), prune(kind, body))
    del body
    builder = TopologyBuilder(cluster, TopologySettings())
    builder.build()
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    whole_s = median_s(lambda: topology_of(cluster, TopologySettings()))
    one = lists[ENDPOINT_SLICES][0]
    states = [one, {**one, "endpoints": one["endpoints"][1:]}] * ROUNDS

    def change() -> None:
        body = states.pop()
        cluster.put(ENDPOINT_SLICES, key_of(body), prune(ENDPOINT_SLICES, body))
        builder.build()

    change_s = median_s(change)
    print(
        f"{args.pods} pods, {args.services} Services: {size / 1e6:.1f} MB of JSON, "
        f"json.loads of all {parse_s * 1e3:.0f} ms"
    )
    for what, spent_s in (
        ("pruning and indexing all of it", prune_s),
        ("the topology from nothing", whole_s),
        ("the topology after one slice has changed", change_s),
    ):
        print(f"{what}: {spent_s * 1e3:.1f} ms, {spent_s / parse_s:.3f} of json.loads")
    print(f"objects and topology kept: {kept / 1e6:.1f} MB, {kept / size:.2f} of the JSON (peak {peak / size:.2f})")
    compare_plans(args.pods, args.services, args.managed)


if __name__ == "__main__":
    main()
