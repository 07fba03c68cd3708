"""Endpoints: one client's ClusterLoadAssignment, spliced from parts that were serialised once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import groupby

from mesh.topology import Container, Topology
from xds_server.resources.wire import field, number_field, text_field, varint, wrapped_number_field

HEAVIEST = 10_000  # weight of a client's largest share; the smallest is 1, so ratios stay below what Envoy's EDF bears
STANDBY = "standby"

# Field numbers of envoy.config.endpoint.v3 and envoy.config.core.v3.
_CLA_CLUSTER_NAME, _CLA_ENDPOINTS = 1, 2
_LOCALITY_ENDPOINTS_LOCALITY, _LOCALITY_ENDPOINTS_ENDPOINTS, _LOCALITY_ENDPOINTS_PRIORITY = 1, 2, 5
_LOCALITY_REGION, _LOCALITY_ZONE, _LOCALITY_SUB_ZONE = 1, 2, 3
_LB_ENDPOINT_ENDPOINT, _LB_ENDPOINT_WEIGHT = 1, 4
_ENDPOINT_ADDRESS, _ADDRESS_SOCKET, _SOCKET_ADDRESS, _SOCKET_PORT = 1, 1, 2, 3


def integer_weights(shares: Sequence[float]) -> list[int]:
    """Return positive integer weights in the ratio of ``shares`` (each > 0); the largest becomes ``HEAVIEST``.

    >>> integer_weights([0.5, 0.25])
    [10000, 5000]
    """
    if not shares:
        return []
    scale = HEAVIEST / max(shares)
    return [max(1, round(share * scale)) for share in shares]


def load_assignment_bytes(
    topology: Topology,
    cluster: str,
    port: int,
    weighted: Mapping[Container, int] | Sequence[tuple[Container, int]],
    standbys: Sequence[Container] = (),
) -> bytes:
    """Return a serialised ClusterLoadAssignment: ``weighted`` at priority 0, ``standbys`` at priority 1.

    Endpoints are grouped by node (region, zone, sub_zone = node). A standby's sub_zone is marked: Envoy keeps the host
    object, and with it the idle connections, of an endpoint that only changes priority, but replaces it when its
    locality changes; so an endpoint that became a standby gives its connections up as soon as they are idle.

    Cost: O(M log M) for M endpoints, about 1 µs each.
    """
    pairs = list(weighted.items()) if isinstance(weighted, Mapping) else list(weighted)
    parts = [text_field(_CLA_CLUSTER_NAME, cluster)]
    parts += _groups(topology, port, pairs, priority=0)
    parts += _groups(topology, port, [(standby, 1) for standby in standbys], priority=1 if pairs else 0)
    return b"".join(parts)


def _groups(topology: Topology, port: int, pairs: list[tuple[Container, int]], *, priority: int) -> list[bytes]:
    pairs.sort(key=lambda pair: (pair[0].node, pair[0].name))
    tail = number_field(_LOCALITY_ENDPOINTS_PRIORITY, priority)
    groups = []
    for name, members in groupby(pairs, key=lambda pair: pair[0].node):
        node = topology.node_by_name[name]
        locality = _locality(node.region, node.zone, f"{name}/{STANDBY}" if priority else name)
        endpoints = b"".join(
            _lb_endpoint(container.address, container.ports.get(port, port), weight) for container, weight in members
        )
        groups.append(field(_CLA_ENDPOINTS, locality + endpoints + tail))
    return groups


@lru_cache(maxsize=65536)
def _locality(region: str, zone: str, sub_zone: str) -> bytes:
    body = text_field(_LOCALITY_REGION, region) + text_field(_LOCALITY_ZONE, zone)
    return field(_LOCALITY_ENDPOINTS_LOCALITY, body + text_field(_LOCALITY_SUB_ZONE, sub_zone))


def _lb_endpoint(address: str, port: int, weight: int) -> bytes:
    body = _endpoint(address, port) + wrapped_number_field(_LB_ENDPOINT_WEIGHT, weight)
    return b"\x12" + varint(len(body)) + body  # 0x12: the tag of field 2, length-delimited


@lru_cache(maxsize=262144)
def _endpoint(address: str, port: int) -> bytes:
    socket = text_field(_SOCKET_ADDRESS, address) + number_field(_SOCKET_PORT, port)
    return field(_LB_ENDPOINT_ENDPOINT, field(_ENDPOINT_ADDRESS, field(_ADDRESS_SOCKET, socket)))
