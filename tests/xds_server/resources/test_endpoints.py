"""Assignments are spliced from parts serialised once: protobuf reads out of them what was meant."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from envoy.config.core.v3 import address_pb2, base_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from google.protobuf import wrappers_pb2
from hypothesis import given
from hypothesis import strategies as st

from mesh.topology import Container, ContainerName, Node, NodeName, ServiceName, Topology
from xds_server.resources.endpoints import HEAVIEST, STANDBY, EndpointFrame, integer_weights
from xds_server.snapshot import Load

PORT = 9080
words = st.text(st.characters(codec="utf-8"), max_size=12)


@st.composite
def meshes(draw: st.DrawFn) -> tuple[Topology, list[Container]]:
    """Draw nodes with any zones, and containers on them."""
    nodes = tuple(Node(NodeName(f"n{i}"), draw(words), draw(words)) for i in range(draw(st.integers(1, 4))))
    containers = [
        Container(
            name=ContainerName(f"c{i}"),
            service=ServiceName("s.default"),
            node=draw(st.sampled_from(nodes)).name,
            address=draw(st.sampled_from(["127.0.0.1", "10.1.2.3", "2001:db8::1"])),
            ports=draw(st.sampled_from([{}, {PORT: 1}, {PORT: 65535}])),
        )
        for i in range(draw(st.integers(0, 8)))
    ]
    return Topology(nodes=nodes), containers


def expected(
    topology: Topology, weighted: list[tuple[Container, int]], spare: list[Container]
) -> endpoint_pb2.ClusterLoadAssignment:
    """Build the same from protobuf's objects."""
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name="outbound|x")
    pairs = [(0, one, weight) for one, weight in weighted] + [(1 if weighted else 0, one, 1) for one in spare]
    pairs.sort(key=lambda pair: (spare.count(pair[1]), pair[1].node, pair[1].name))
    for (_, name), members in groupby(pairs, key=lambda pair: (spare.count(pair[1]), pair[1].node)):
        node = topology.node_by_name[name]
        found = list(members)
        is_spare = found[0][1] in spare
        locality = endpoint_components_pb2.LocalityLbEndpoints(
            locality=base_pb2.Locality(
                region=node.region, zone=node.zone, sub_zone=f"{name}/{STANDBY}" if is_spare else name
            ),
            priority=found[0][0],
        )
        for _, one, weight in found:
            socket = address_pb2.SocketAddress(address=one.address, port_value=one.ports.get(PORT, PORT))
            endpoint = endpoint_components_pb2.Endpoint(address=address_pb2.Address(socket_address=socket))
            locality.lb_endpoints.append(
                endpoint_components_pb2.LbEndpoint(
                    endpoint=endpoint, load_balancing_weight=wrappers_pb2.UInt32Value(value=weight)
                )
            )
        message.endpoints.append(locality)
    return message


@given(meshes(), st.data())
def test_spliced_is_what_objects_make(drawn: tuple[Topology, list[Container]], data: st.DataObject) -> None:
    """Any nodes, zones, ports, weights from 1 to the heaviest, standbys."""
    topology, containers = drawn
    used = [one for one in containers if data.draw(st.booleans())]
    weighted = [(one, data.draw(st.integers(1, HEAVIEST))) for one in used]
    spare = [one for one in containers if one not in used and data.draw(st.booleans())]
    frame = EndpointFrame(topology, containers, PORT)
    weights = [0] * len(containers)
    for one, weight in weighted:
        weights[frame.position[one.name]] = weight
    standbys = [frame.position[one.name] for one in spare]
    body, load = frame.assignment("outbound|x", weights, standbys)

    assert endpoint_pb2.ClusterLoadAssignment.FromString(body) == expected(topology, weighted, spare)
    shuffled, _ = frame.assignment("outbound|x", weights, standbys[::-1])
    assert shuffled == body, "the order in which standbys are given is nothing"
    used = [weight for weight in weights if weight] or [1] * len(spare)
    assert load == Load(len(used), min(used, default=0), max(used, default=0), sum(used))


@given(meshes(), st.data())
def test_a_tier_takes_its_nodes_only(drawn: tuple[Topology, list[Container]], data: st.DataObject) -> None:
    """The same weights, but of some nodes' endpoints: what that tier's cluster gets."""
    topology, containers = drawn
    frame = EndpointFrame(topology, containers, PORT)
    weights = [data.draw(st.integers(0, HEAVIEST)) for _ in containers]
    groups = [group for group in range(len(frame.nodes)) if data.draw(st.booleans())]
    body, _ = frame.assignment("outbound|x", weights, groups=groups)
    nodes = {frame.nodes[group] for group in groups}
    weighted = [
        (one, weights[frame.position[one.name]])
        for one in containers
        if one.node in nodes and weights[frame.position[one.name]]
    ]

    assert endpoint_pb2.ClusterLoadAssignment.FromString(body) == expected(topology, weighted, [])


@given(st.lists(st.lists(st.one_of(st.just(0.0), st.floats(1e-9, 1.0)), min_size=4, max_size=4), max_size=6))
def test_weights_are_integers_in_the_ratio_of_the_shares(rows: list[list[float]]) -> None:
    """A row's largest is 10,000; each other within half a unit of its ratio and at least 1; no share is 0."""
    fractions = np.array(rows, dtype=float).reshape(len(rows), 4)
    weights = integer_weights(fractions)

    assert weights.shape == fractions.shape
    for row, found in zip(rows, weights.tolist(), strict=True):
        largest = max(row) or 1.0
        for share, weight in zip(row, found, strict=True):
            expected = max(1.0, share / largest * HEAVIEST) if share else 0.0
            assert weight == pytest.approx(expected, abs=0.5)


def test_no_shares_have_no_weights() -> None:
    """An empty matrix stays empty."""
    assert integer_weights(np.zeros((0, 3))).shape == (0, 3)
    assert integer_weights(np.zeros((3, 0))).shape == (3, 0)
