"""The input of ``askew allocate traffic``: JSON text to a checked problem and its terms. Every name exists, or its path
is told."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from allocators.problem import STEERED_ROUTINGS, SteeredRouting, Terms, TrafficProblem
from askew.cli.json_document import load_json, name
from mesh.document import Fields, integer, number, one_of
from mesh.errors import BadInputError
from mesh.policy import STRATEGIES, Strategy
from mesh.topology import ContainerName, Node, NodeName

LARGEST = 1e300  # sums stay finite for any number of entries that fits in memory

_rate = number(0.0, LARGEST, allowed="requests per second, a number from 0 to 1e300")
_capacity = number(0.0, LARGEST, above=True, allowed="a number > 0 and <= 1e300")
_target = number(0.0, LARGEST, allowed="a number from 0 to 1e300, or null on all endpoints")
_latency_ms = number(0.0, 1e15, allowed="milliseconds, a number from 0 to 1e15, or null")
_max_overload = number(1.0, 1e9, allowed="a number from 1 to 1e9")
_connections = integer(1, 10**9)
_routing = one_of(STEERED_ROUTINGS)
_strategy = one_of(STRATEGIES)


@dataclass(frozen=True, slots=True)
class _Client:
    name: ContainerName
    node: NodeName
    requests_per_s: float
    latency_ms: float | None


@dataclass(frozen=True, slots=True)
class _Endpoint:
    name: ContainerName
    node: NodeName
    capacity: float
    target: float | None


def parse_traffic_file(text: str) -> tuple[TrafficProblem, Terms]:
    """Read the file.

    Raises
    ------
    BadInputError
        names the place (``clients[3].requests_per_s``), what was found there and what is allowed.
    """
    top = Fields(load_json(text), "", allowed=("nodes", "clients", "endpoints", "policy"))
    nodes = top.items("nodes", _node)
    _refuse_twice([node.name for node in nodes], "nodes[{}].name")
    known = {node.name: node for node in nodes}
    clients = top.items("clients", lambda value, path: _client(value, path, known))
    _refuse_twice([client.name for client in clients], "clients[{}].name")
    endpoints = top.items("endpoints", lambda value, path: _endpoint(value, path, known))
    _refuse_twice([endpoint.name for endpoint in endpoints], "endpoints[{}].name")
    if not endpoints:
        raise BadInputError("endpoints", [], "one endpoint at least")
    terms = top.take("policy", _terms)
    problem = TrafficProblem(
        clients=tuple(client.name for client in clients),
        client_nodes=tuple(client.node for client in clients),
        rates=np.array([client.requests_per_s for client in clients], dtype=float),
        endpoints=tuple(endpoint.name for endpoint in endpoints),
        endpoint_nodes=tuple(endpoint.node for endpoint in endpoints),
        capacities=np.array([endpoint.capacity for endpoint in endpoints], dtype=float),
        nodes=known,
        targets=_targets(endpoints, terms),
        latency_ms=_latencies(clients),
    )
    return problem, terms


def _node(value: object, path: str) -> Node:
    fields = Fields(value, path, allowed=("name", "zone", "region"))
    return Node(
        name=NodeName(fields.take("name", name)),
        zone=fields.take("zone", _place, ""),
        region=fields.take("region", _place, ""),
    )


def _place(value: object, path: str) -> str:
    return "" if value == "" or value is None else name(value, path)


def _client(value: object, path: str, nodes: Collection[str]) -> _Client:
    fields = Fields(value, path, allowed=("name", "node", "requests_per_s", "latency_ms"))
    return _Client(
        name=ContainerName(fields.take("name", name)),
        node=_known_node(fields, nodes),
        requests_per_s=fields.take("requests_per_s", _rate),
        latency_ms=fields.take("latency_ms", lambda item, at: None if item is None else _latency_ms(item, at), None),
    )


def _endpoint(value: object, path: str, nodes: Collection[str]) -> _Endpoint:
    fields = Fields(value, path, allowed=("name", "node", "capacity", "target"))
    return _Endpoint(
        name=ContainerName(fields.take("name", name)),
        node=_known_node(fields, nodes),
        capacity=fields.take("capacity", _capacity, 1.0),
        target=fields.take("target", lambda item, at: None if item is None else _target(item, at), None),
    )


def _known_node(fields: Fields, nodes: Collection[str]) -> NodeName:
    node = fields.take("node", name)
    if node not in nodes:
        raise BadInputError(fields.at("node"), node, "a name in nodes")
    return NodeName(node)


def _terms(value: object, path: str) -> Terms:
    fields = Fields(value, path, allowed=("routing", "connections", "max_overload", "strategy"))
    routing: SteeredRouting = fields.take("routing", _routing)
    strategy: Strategy = fields.take("strategy", _strategy, "askew")
    return Terms(
        routing=routing,
        strategy=strategy,
        connections=fields.take("connections", _most_connections, None),
        max_overload=fields.take("max_overload", _max_overload, 1.0),
    )


def _most_connections(value: object, path: str) -> int | Literal["all"] | None:
    if value is None:
        return None
    if value == "all":
        return "all"
    try:
        return _connections(value, path)
    except BadInputError:
        raise BadInputError(path, value, 'an integer >= 1, "all", or null') from None


def _targets(endpoints: Sequence[_Endpoint], terms: Terms) -> np.ndarray | None:
    """Return the targets of all endpoints, or None where none has one; some with and some without are refused."""
    given = [endpoint.target for endpoint in endpoints]
    has_targets = given[0] is not None
    for index, target in enumerate(given):
        if (target is not None) != has_targets:
            raise BadInputError(f"endpoints[{index}].target", target, "a number on all endpoints, or null on all")
    if not has_targets and terms.routing == "imbalance-aware":
        raise BadInputError("endpoints[0].target", None, "a number on all endpoints (imbalance-aware needs targets)")
    if not has_targets:
        return None
    if not any(given):
        raise BadInputError("endpoints[0].target", 0, "a number > 0 on one endpoint at least")
    return np.array(given, dtype=float)


def _latencies(clients: Sequence[_Client]) -> np.ndarray | None:
    """Return the latencies of all clients; who has none counts as average. None where nobody has one."""
    known = [client.latency_ms for client in clients if client.latency_ms is not None]
    if not known:
        return None
    average = float(np.mean(known))
    return np.array([average if client.latency_ms is None else client.latency_ms for client in clients])


def _refuse_twice(names: Sequence[Hashable], path: str) -> None:
    seen = set()
    for index, found in enumerate(names):
        if found in seen:
            raise BadInputError(path.format(index), found, "each name once")
        seen.add(found)
