"""Endpoints: one client's ClusterLoadAssignment, spliced from parts that were serialised once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from mesh.topology import Container, Topology
from xds_server.resources.wire import field, number_field, text_field, varint
from xds_server.snapshot import Load

HEAVIEST = 10_000  # weight of a client's largest share; the smallest is 1, so ratios stay below what Envoy's EDF bears
STANDBY = "standby"

# Field numbers of envoy.config.endpoint.v3 and envoy.config.core.v3.
# An assignment's groups and a group's endpoints are both field 2: the tag is 0x12.
_CLA_CLUSTER_NAME = 1
_LOCALITY_ENDPOINTS_LOCALITY, _LOCALITY_ENDPOINTS_PRIORITY = 1, 5
_LOCALITY_REGION, _LOCALITY_ZONE, _LOCALITY_SUB_ZONE = 1, 2, 3
_LB_ENDPOINT_ENDPOINT, _LB_ENDPOINT_WEIGHT = 1, 4
_ENDPOINT_ADDRESS, _ADDRESS_SOCKET, _SOCKET_ADDRESS, _SOCKET_PORT = 1, 1, 2, 3


def integer_weights(fractions: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return integer weights in the ratio of each row's shares: the largest becomes ``HEAVIEST``, the least is 1.

    Shape ``(clients, endpoints)`` in and out; a share of 0 has the weight 0, which stands for "not used".

    >>> integer_weights(np.array([[0.5, 0.25, 0.0]])).tolist()
    [[10000, 5000, 0]]
    """
    if not fractions.size:
        return np.zeros(fractions.shape, dtype=np.int64)
    largest = fractions.max(axis=1, keepdims=True)
    scaled = np.rint(fractions * (HEAVIEST / np.where(largest > 0.0, largest, 1.0))).astype(np.int64)
    return np.where(fractions > 0.0, np.maximum(scaled, 1), 0)


class EndpointFrame:
    """The endpoints of one service port, serialised but for their weights; made once for all clients of a topology.

    Endpoints are grouped by node (region, zone, sub_zone = node), in the order of node and name.

    Attributes
    ----------
    names, position:
        The endpoints in that order, and where each stands.
    nodes, bounds, group_of:
        The node of each group, its first and behind-last position, and each endpoint's group.
    """

    def __init__(self, topology: Topology, containers: Sequence[Container], port: int) -> None:
        ordered = sorted(containers, key=lambda container: (container.node, container.name))
        self.position = {container.name: i for i, container in enumerate(ordered)}
        bodies = [endpoint_bytes(container.address, container.ports.get(port, port)) for container in ordered]
        # A weight takes 4 bytes below 128 and 5 up to 16,383: the length in front of each endpoint is one of two.
        self._light = [b"\x12" + varint(len(body) + 4) + body for body in bodies]
        self._heavy = [b"\x12" + varint(len(body) + 5) + body for body in bodies]
        self.names = [container.name for container in ordered]
        self.nodes = list(dict.fromkeys(container.node for container in ordered))
        self.group_of = [self.nodes.index(container.node) for container in ordered]
        starts = [self.group_of.index(group) for group in range(len(self.nodes))] + [len(ordered)]
        self.bounds = list(pairwise(starts))
        nodes = [topology.node_by_name[name] for name in self.nodes]
        self._used = [locality_bytes(node.region, node.zone, node.name) for node in nodes]
        self._standby = [locality_bytes(node.region, node.zone, f"{node.name}/{STANDBY}") for node in nodes]

    def assignment(
        self, cluster: str, weights: Sequence[int], standbys: Sequence[int] = (), *, groups: Sequence[int] | None = None
    ) -> tuple[bytes, Load]:
        """Return a serialised ClusterLoadAssignment and what its weights come to.

        Parameters
        ----------
        weights:
            One for each endpoint, by position: 1 to ``HEAVIEST`` at priority 0, 0 for one that is not used.
        standbys:
            Positions of the endpoints at priority 1 (0 where nothing is used).
        groups:
            The groups (nodes) to take from ``weights``; None takes all.

        Notes
        -----
        A standby's sub_zone is marked: Envoy keeps the host object, and with it the idle connections, of an endpoint
        that only changes priority, but replaces it when its locality changes; so an endpoint that became a standby
        gives its connections up as soon as they are idle.

        Cost: O(M) for M endpoints, a fraction of 1 µs each.
        """
        parts = [text_field(_CLA_CLUSTER_NAME, cluster)]
        pieces = [
            ((heavy if weight > 127 else light) + _WEIGHTS[weight] if weight else b"")
            for light, heavy, weight in zip(self._light, self._heavy, weights, strict=True)
        ]
        used = [weight for weight in weights if weight] if groups is None else []
        for group in range(len(self.bounds)) if groups is None else groups:
            first, last = self.bounds[group]
            chosen = b"".join(pieces[first:last])
            if chosen:
                body = self._used[group] + chosen
                parts += (b"\x12", varint(len(body)), body)
                if groups is not None:
                    used += [weight for weight in weights[first:last] if weight]
        self._add_standbys(parts, standbys, _PRIORITY_1 if used else b"")
        used = used or [1] * len(standbys)
        if not used:
            return b"".join(parts), Load(0, 0, 0, 0)
        return b"".join(parts), Load(len(used), min(used), max(used), sum(used))

    def _add_standbys(self, parts: list[bytes], standbys: Sequence[int], tail: bytes) -> None:
        if not standbys:
            return
        for group, positions in groupby(sorted(standbys), key=self.group_of.__getitem__):
            body = self._standby[group] + b"".join(self._light[p] + _WEIGHTS[1] for p in positions) + tail
            parts += (b"\x12", varint(len(body)), body)


@lru_cache(maxsize=65536)
def locality_bytes(region: str, zone: str, sub_zone: str) -> bytes:
    """Return the locality field of a group of endpoints (``LocalityLbEndpoints.locality``)."""
    body = text_field(_LOCALITY_REGION, region) + text_field(_LOCALITY_ZONE, zone)
    return field(_LOCALITY_ENDPOINTS_LOCALITY, body + text_field(_LOCALITY_SUB_ZONE, sub_zone))


def endpoint_bytes(address: str, port: int) -> bytes:
    """Return the endpoint field of an ``LbEndpoint``: where it listens."""
    socket = text_field(_SOCKET_ADDRESS, address) + number_field(_SOCKET_PORT, port)
    return field(_LB_ENDPOINT_ENDPOINT, field(_ENDPOINT_ADDRESS, field(_ADDRESS_SOCKET, socket)))


_PRIORITY_1 = number_field(_LOCALITY_ENDPOINTS_PRIORITY, 1)
_WEIGHTS = [field(_LB_ENDPOINT_WEIGHT, number_field(1, weight)) for weight in range(HEAVIEST + 1)]
