"""The endpoints of a cluster of Istio's, as istiod would write them, serialised but for their weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from itertools import groupby

from mesh.istio_facts import EndpointFacts, IstioFacts
from mesh.topology import Container, Node, Topology
from xds_server.resources.endpoints import STANDBY, endpoint_bytes, locality_bytes
from xds_server.resources.wire import field, number_field, text_field, wrapped_number_field
from xds_server.snapshot import Load

# Field numbers of envoy.config.endpoint.v3 and envoy.config.core.v3.Metadata, and of google.protobuf.Struct.
_CLA_CLUSTER_NAME, _CLA_ENDPOINTS = 1, 2
_GROUP_LB_ENDPOINTS, _GROUP_WEIGHT, _GROUP_PRIORITY = 2, 3, 5
_LB_ENDPOINT_METADATA, _LB_ENDPOINT_WEIGHT = 3, 4
_FILTER_METADATA, _MAP_KEY, _MAP_VALUE, _STRUCT_FIELDS, _STRING_VALUE = 1, 1, 2, 1, 3
Place = tuple[str, str, str]
TRANSPORT_SOCKET_MATCH, ISTIO = "envoy.transport_socket_match", "istio"


class IstioFrame:
    """The endpoints of one port and subset of a Service; made once for all clients of a topology.

    Endpoints are grouped by region, zone and subzone, in the order of those and of their names.
    """

    def __init__(self, topology: Topology, containers: Sequence[Container], port: int, facts: IstioFacts) -> None:
        nodes = topology.node_by_name

        def place(container: Container) -> Place:
            return _place(nodes[container.node])

        ordered = sorted(containers, key=lambda container: (*place(container), container.name))
        self._made_of = _ingredients(topology, containers, facts)
        self.containers = ordered
        self.names = [container.name for container in ordered]
        self.position = {name: i for i, name in enumerate(self.names)}
        self._places = [place(container) for container in ordered]
        self._bodies = [_body(container, port, facts) for container in ordered]

    def is_right_for(self, topology: Topology, containers: Sequence[Container], facts: IstioFacts) -> bool:
        """Whether a frame of the same port made of these would be the same. O(M); mostly a look at identities."""
        return self._made_of == _ingredients(topology, containers, facts)

    @cached_property
    def equal_groups(self) -> tuple[bytes, Load]:
        """All endpoints with equal weights, as the part of an assignment behind its name, and what that comes to."""
        return self.assignment("", [1] * len(self.names))

    def assignment(self, cluster: str, weights: Sequence[int], standbys: Sequence[int] = ()) -> tuple[bytes, Load]:
        """Return a serialised ClusterLoadAssignment and what its weights come to.

        ``weights`` has one for each endpoint, 0 for what is not used. Standbys stand at priority 1, with a marked
        sub_zone: Envoy then makes a new host of an endpoint that changes sides, and lets its idle connections go. A
        locality's weight is the sum of its endpoints', which is also right where a DestinationRule has
        locality-weighted balancing on. Cost: O(M) for M endpoints.
        """
        used = [weight for weight in weights if weight]
        parts = [text_field(_CLA_CLUSTER_NAME, cluster)]
        parts += self._groups([(p, weight) for p, weight in enumerate(weights) if weight], priority=0)
        if standbys:
            # A lone priority must be 0 ("priorities without a gap").
            parts += self._groups([(p, 1) for p in sorted(standbys)], priority=int(bool(used)), mark=f"/{STANDBY}")
        counted = used or [1] * len(standbys)
        if not counted:
            return b"".join(parts), Load(0, 0, 0, 0)
        return b"".join(parts), Load(len(counted), min(counted), max(counted), sum(counted))

    def _groups(self, chosen: list[tuple[int, int]], *, priority: int, mark: str = "") -> list[bytes]:
        found = []
        for (region, zone, subzone), members in groupby(chosen, key=lambda one: self._places[one[0]]):
            listed = list(members)
            endpoints = [
                field(_GROUP_LB_ENDPOINTS, self._bodies[p] + wrapped_number_field(_LB_ENDPOINT_WEIGHT, weight))
                for p, weight in listed
            ]
            total = wrapped_number_field(_GROUP_WEIGHT, sum(weight for _, weight in listed))
            body = locality_bytes(region, zone, subzone + mark) + b"".join(endpoints) + total
            found.append(field(_CLA_ENDPOINTS, body + number_field(_GROUP_PRIORITY, priority)))
        return found


def _place(node: Node) -> Place:
    return node.region, node.zone, node.subzone


def _ingredients(
    topology: Topology, containers: Sequence[Container], facts: IstioFacts
) -> list[tuple[Container, EndpointFacts, Place]]:
    nodes = topology.node_by_name
    return [(container, facts.of(container.name), _place(nodes[container.node])) for container in containers]


def _body(container: Container, port: int, facts: IstioFacts) -> bytes:
    known = facts.of(container.name)
    own_port = container.ports.get(port, port)
    parts = []
    # In the order of the keys, as protobuf's deterministic form has a map.
    if known.takes_mtls_on(own_port):
        parts.append(_namespace(TRANSPORT_SOCKET_MATCH, "tlsMode", "istio"))
    if known.workload:
        parts.append(_namespace(ISTIO, "workload", known.workload))
    metadata = field(_LB_ENDPOINT_METADATA, b"".join(parts)) if parts else b""
    return endpoint_bytes(container.address, own_port) + metadata


@lru_cache(maxsize=16384)
def _namespace(name: str, key: str, text: str) -> bytes:
    value = field(_STRING_VALUE, text.encode())
    struct = field(_STRUCT_FIELDS, field(_MAP_KEY, key.encode()) + field(_MAP_VALUE, value))
    return field(_FILTER_METADATA, field(_MAP_KEY, name.encode()) + field(_MAP_VALUE, struct))
