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
    by_name = {one.name: weight for one, weight in weighted}
    row = [by_name.get(name, 0) for name in frame.names]
    body, load = frame.assignment("outbound|x", row, [frame.position[one.name] for one in spare])

    assert endpoint_pb2.ClusterLoadAssignment.FromString(body) == expected(topology, weighted, spare)
    shuffled, _ = frame.assignment("outbound|x", row, [frame.position[one.name] for one in spare[::-1]])
    assert shuffled == body, "the order in which standbys are given is nothing"
    some = [group for group in range(len(frame.nodes)) if data.draw(st.booleans())]
    inside = [(one, weight) for one, weight in weighted if frame.nodes.index(one.node) in some]
    part, _ = frame.assignment("outbound|x", row, groups=some)
    assert endpoint_pb2.ClusterLoadAssignment.FromString(part) == expected(topology, inside, [])
    weights = [weight for _, weight in weighted] or [1] * len(spare)
    assert (load.endpoints, load.total) == (len(weights), sum(weights))


@given(st.lists(st.floats(1e-9, 1.0), min_size=1, max_size=50))
def test_weights_are_positive_integers_in_the_ratio_of_the_shares(shares: list[float]) -> None:
    """The largest is 10,000; each other is within half a unit of its ratio, and at least 1; nothing stays nothing."""
    (weights,) = integer_weights(np.array([[*shares, 0.0]])).tolist()

    assert max(weights) == HEAVIEST
    assert weights.pop() == 0
    for share, weight in zip(shares, weights, strict=True):
        assert weight == pytest.approx(max(1.0, share / max(shares) * HEAVIEST), abs=0.5)


def test_no_shares_have_no_weights() -> None:
    """No endpoints, or a client that has none left."""
    assert integer_weights(np.zeros((2, 0))).shape == (2, 0)
    assert integer_weights(np.zeros((1, 2))).tolist() == [[0, 0]]
