"""What went from node to node, as the servers' sidecars counted it: shares that cross nodes, and how few could have.

Pure: counters in, figures out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mesh.topology import Topology


@dataclass(frozen=True, slots=True)
class Link:
    """Where requests come from and go to: a service, the node of the client, the node of the server."""

    service: str
    client_node: str
    server_node: str

    @property
    def crosses(self) -> bool:
        return self.client_node != self.server_node


@dataclass(frozen=True, slots=True)
class Amount:
    """Requests, and bytes of both directions with their heads."""

    requests: int = 0
    bytes: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.requests + other.requests, self.bytes + other.bytes)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.requests - other.requests, self.bytes - other.bytes)


Traffic = Mapping[Link, Amount]


def total(parts: Iterable[tuple[Link, Amount]]) -> Traffic:
    """Return the sum of ``parts``, link by link."""
    amounts: dict[Link, Amount] = defaultdict(Amount)
    for link, amount in parts:
        amounts[link] += amount
    return dict(amounts)


def between(start: Traffic, end: Traffic) -> Traffic:
    """Return what went between two readings of the same counters.

    >>> link = Link("reviews.default", "n1", "n2")
    >>> between({link: Amount(5, 100)}, {link: Amount(8, 150)})[link]
    Amount(requests=3, bytes=50)
    """
    return {link: amount - start.get(link, Amount()) for link, amount in end.items()}


def cross_node_request_share(traffic: Traffic) -> float:
    """Return the part of requests whose client and server are on different nodes; 0 without requests."""
    return _share(traffic, {link: amount.requests for link, amount in traffic.items()})


def cross_node_byte_share(traffic: Traffic) -> float:
    """Return the part of bytes that cross nodes; 0 without bytes."""
    return _share(traffic, {link: amount.bytes for link, amount in traffic.items()})


def lower_bound_cross_node_request_share(traffic: Traffic, topology: Topology) -> float:
    """Return the least part of these requests that has to cross nodes if every server gets its fair part by capacity.

    For each service, node h sends R_h requests and can take W_h = R · (its part of the service's capacity); what it
    sends beyond that must leave: sum over h of max(0, R_h - W_h), over all requests. This is the total-variation
    distance of demand and capacity, and no placement-preserving policy with balanced servers does better.
    """
    whole = sum(amount.requests for amount in traffic.values())
    return sum(must_leave(traffic, topology).values()) / whole if whole else 0.0


def lower_bound_cross_node_byte_share(traffic: Traffic, topology: Topology) -> float:
    """Return the part of bytes of the requests that have to cross nodes, each as big as the mean of its service.

    A bound where a service's requests are alike from everywhere; where some nodes send bigger ones, about one.
    """
    amounts: dict[str, Amount] = defaultdict(Amount)
    for link, amount in traffic.items():
        amounts[link.service] += amount
    whole = sum(amount.bytes for amount in amounts.values())
    must = must_leave(traffic, topology)
    leaving = sum(must[name] * amount.bytes / amount.requests for name, amount in amounts.items() if amount.requests)
    return leaving / whole if whole else 0.0


def must_leave(traffic: Traffic, topology: Topology) -> Mapping[str, float]:
    """Return the requests to each service that have to cross nodes if its servers are balanced by capacity."""
    sent: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for link, amount in traffic.items():
        sent[link.service][link.client_node] += amount.requests
    leaving = {}
    for service, by_node in sent.items():
        parts, requests = _capacity_parts(topology, service), sum(by_node.values())
        leaving[service] = sum(max(0.0, count - requests * parts.get(node, 0.0)) for node, count in by_node.items())
    return leaving


def _capacity_parts(topology: Topology, service: str) -> Mapping[str, float]:
    capacities: dict[str, float] = defaultdict(float)
    for container in topology.container_by_name.values():
        if container.service == service:
            capacities[container.node] += container.capacity
    whole = sum(capacities.values())
    return {node: capacity / whole for node, capacity in capacities.items()}


def _share(traffic: Traffic, amounts: Mapping[Link, int]) -> float:
    whole = sum(amounts.values())
    return sum(amounts[link] for link in traffic if link.crosses) / whole if whole else 0.0
