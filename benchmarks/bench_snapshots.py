"""How long from a mesh file's topology to every client's snapshot? 200 services × 10 containers on 50 nodes.

Prints the plan's and the snapshots' time, and the ratio of splicing against building the same messages from objects.
"""

from __future__ import annotations

import time

import numpy as np
from envoy.config.core.v3 import address_pb2, base_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from google.protobuf import wrappers_pb2

from askew.control_loop import Memory, tick
from mesh.mesh_file import parse_mesh_file
from mesh.telemetry import Telemetry
from mesh.topology import Container, Topology
from xds_server.resources.client_config import ClientConfigs
from xds_server.resources.endpoints import EndpointFrame

SERVICES, REPLICAS, NODES, OUT_DEGREE = 200, 10, 50, 3


def mesh_text(seed: int = 1) -> str:
    """Return a mesh file (JSON) of that size, with calls of mean out-degree 3 and containers placed at random."""
    rng = np.random.default_rng(seed)
    nodes = ", ".join(f'{{"name": "n{i}", "zone": "z{i % 3}"}}' for i in range(NODES))
    services = []
    for s in range(SERVICES):
        containers = ", ".join(
            f'{{"name": "s{s}-{c}", "node": "n{rng.integers(NODES)}", "address": "10.{s // 200}.{s % 200}.{c + 1}"}}'
            for c in range(REPLICAS)
        )
        services.append(
            f'{{"name": "s{s}", "port": 8080, "annotations": {{"askew.mesh/routing": "local-first"}},'
            f' "containers": [{containers}]}}'
        )
    calls = [
        f'{{"from": "s{s}", "to": "s{t}"}}'
        for s in range(SERVICES)
        for t in rng.choice(SERVICES, size=OUT_DEGREE, replace=False)
    ]
    return (
        f'{{"apiVersion": "askew.mesh/v1", "nodes": [{nodes}], "services": [{", ".join(services)}],'
        f' "calls": [{", ".join(calls)}]}}'
    )


def main() -> None:
    text = mesh_text()
    started = time.process_time()
    topology = parse_mesh_file(text)
    parsed = time.process_time()
    _, _, plan = tick(Memory(), topology, Telemetry())
    planned = time.process_time()
    configs = ClientConfigs(topology, plan)
    size = sum(
        len(one.body) for container in topology.container_by_name.values() for one in configs.snapshot(container).all()
    )
    built = time.process_time()
    clients = len(topology.container_by_name)
    print(f"{SERVICES} services x {REPLICAS} containers on {NODES} nodes, {len(topology.calls or ())} calls (CPU s)")
    print(f"  read the mesh file   {parsed - started:6.2f} s")
    print(f"  allocate             {planned - parsed:6.2f} s   {len(plan.services)} service plans")
    print(f"  build the snapshots  {built - planned:6.2f} s   {clients} clients, {size / 1e6:.1f} MB")
    total = built - parsed
    print(f"  allocate + build     {total:6.2f} s   = {total / 2.0:.2f} x the limit of 2 s")
    splice_against_objects(topology)


def splice_against_objects(topology: Topology, *, endpoints: int = 1000) -> None:
    """Print the ratio of splicing one ClusterLoadAssignment against building it from protobuf objects."""
    members = list(topology.container_by_name.values())[:endpoints]
    pairs = [(member, 1 + i % 100) for i, member in enumerate(members)]
    frame = EndpointFrame(topology, members, 8080)
    by_name = {member.name: weight for member, weight in pairs}
    weighted = [by_name[name] for name in frame.names]
    assert frame.assignment("c", weighted)[0] == from_objects(topology, "c", 8080, pairs)
    spliced = best(lambda: frame.assignment("c", weighted))
    built = best(lambda: from_objects(topology, "c", 8080, pairs))
    print(
        f"  one assignment of {endpoints} endpoints: spliced {spliced * 1e3:.2f} ms, from objects {built * 1e3:.2f} ms,"
        f" ratio {spliced / built:.2f}"
    )


def best(function: object, *, rounds: int = 7) -> float:
    """Return the least CPU time of a call in seconds."""
    times = []
    for _ in range(rounds):
        started = time.process_time()
        function()  # type: ignore[operator]
        times.append(time.process_time() - started)
    return min(times)


def from_objects(topology: Topology, cluster: str, port: int, pairs: list[tuple[Container, int]]) -> bytes:
    """Return the same message as ``EndpointFrame.assignment``, the usual way: one object for each endpoint."""
    assignment = endpoint_pb2.ClusterLoadAssignment(cluster_name=cluster)
    groups: dict[str, endpoint_components_pb2.LocalityLbEndpoints] = {}
    for container, weight in sorted(pairs, key=lambda pair: (pair[0].node, pair[0].name)):
        group = groups.get(container.node)
        if group is None:
            node = topology.node_by_name[container.node]
            locality = base_pb2.Locality(region=node.region, zone=node.zone, sub_zone=node.name)
            group = groups[container.node] = assignment.endpoints.add(locality=locality)
        socket = address_pb2.SocketAddress(address=container.address, port_value=port)
        group.lb_endpoints.add(
            endpoint=endpoint_components_pb2.Endpoint(address=address_pb2.Address(socket_address=socket)),
            load_balancing_weight=wrappers_pb2.UInt32Value(value=weight),
        )
    return bytes(assignment.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
