"""GraphMerge: replicas of a service become one vertex, and what they may call becomes undirected links.

OptTraffic (ICPP 2023), Algorithm 1, first step: it removes the cycles that replicas of two services form among
themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from estimators.window_totals import WindowTotals, warnings_of

MOST_NAMES_SHOWN = 3


@dataclass(frozen=True, eq=False)
class ServiceGraph:
    """Services, the pairs of them that talk, and what each sent and received.

    Attributes
    ----------
    services:
        Vertex → name, in the order in which their containers were given.
    pairs:
        One ``(client, server)`` of vertices per undirected link, in the order of the calls. Link ``k`` is the two
        directed edges ``2k`` (client to server) and ``2k + 1`` (back).
    calls:
        Every distinct directed call between two services.
    transmit_bytes, receive_bytes:
        Vertex → bytes in the window, the sum over its containers.
    coverage:
        Vertex → part of its containers that were counted, 0..1. Below 1 the bytes are a lower bound, and at 0 unknown.
    window_s:
        Seconds that the bytes cover; 0 where nothing is known.
    warnings:
        What was left out, and of whom.
    """

    services: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    calls: tuple[tuple[int, int], ...]
    transmit_bytes: tuple[float, ...]
    receive_bytes: tuple[float, ...]
    coverage: tuple[float, ...]
    window_s: float
    warnings: tuple[str, ...] = ()

    def traffic_bytes(self, vertex: int) -> float:
        """Return receive + transmit of a vertex: what measuring it costs."""
        return self.transmit_bytes[vertex] + self.receive_bytes[vertex]

    def observed(self, vertex: int) -> bool:
        """Whether the bytes of a vertex are known whole: every one of its containers was counted."""
        return self.coverage[vertex] == 1


def merge_replicas(
    containers: Mapping[str, str], calls: Iterable[tuple[str, str]], totals: WindowTotals
) -> ServiceGraph:
    """Build the service graph.

    Parameters
    ----------
    containers:
        Container → its service.
    calls:
        ``(client service, server service)``. Repeated and mutual calls are one pair; a self-call is no link, with a
        warning; so is a call to or from a service without containers.
    totals:
        Bytes per container. Counters of a container that is not in ``containers`` are left out, with a warning.

    Returns
    -------
    ServiceGraph
        O(containers + calls).

    Examples
    --------
    >>> totals = WindowTotals(10.0, {"a-0": 5, "a-1": 6, "b-0": 9}, {"a-0": 4, "a-1": 5, "b-0": 11})
    >>> graph = merge_replicas({"a-0": "a", "a-1": "a", "b-0": "b"}, [("a", "b"), ("b", "a")], totals)
    >>> graph.services, graph.pairs, graph.transmit_bytes, graph.receive_bytes
    (('a', 'b'), ((0, 1),), (9, 11), (11, 9))
    """
    vertex_of = {service: vertex for vertex, service in enumerate(dict.fromkeys(containers.values()))}
    sent: list[float] = [0] * len(vertex_of)
    received: list[float] = [0] * len(vertex_of)
    size = [0] * len(vertex_of)
    uncounted: dict[str, list[str]] = {}
    for container, service in containers.items():
        vertex = vertex_of[service]
        size[vertex] += 1
        if container in totals.receive_bytes and totals.window_s > 0:
            sent[vertex] += totals.transmit_bytes[container]
            received[vertex] += totals.receive_bytes[container]
        else:
            uncounted.setdefault(service, []).append(container)
    pairs, directed, warnings = _pairs(vertex_of, calls)
    warnings += [f"counters of {name}: no such container" for name in totals.receive_bytes if name not in containers]
    if totals.window_s == 0 and containers:
        warnings.append("counters: no two samples at different times, so there is no rate")
    else:
        warnings += [f"service {service}: no counters of {_some(names)}" for service, names in uncounted.items()]
    return ServiceGraph(
        services=tuple(vertex_of),
        pairs=pairs,
        calls=directed,
        transmit_bytes=tuple(sent),
        receive_bytes=tuple(received),
        coverage=tuple(1 - len(uncounted.get(service, ())) / size[vertex] for service, vertex in vertex_of.items()),
        window_s=totals.window_s,
        warnings=warnings_of(totals) + tuple(warnings),
    )


def _pairs(
    vertex_of: Mapping[str, int], calls: Iterable[tuple[str, str]]
) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...], list[str]]:
    directed: dict[tuple[int, int], None] = {}
    pairs: dict[tuple[int, int], tuple[int, int]] = {}
    warnings: dict[str, None] = {}
    for client, server in calls:
        if client not in vertex_of or server not in vertex_of:
            stranger = server if client in vertex_of else client
            warnings[f"call from {client} to {server}: {stranger} has no containers, so no link"] = None
        elif client == server:
            warnings[f"call from {client} to itself: a service's own traffic shows in no link"] = None
        else:
            call = vertex_of[client], vertex_of[server]
            directed[call] = None
            pairs.setdefault((min(call), max(call)), call)
    return tuple(pairs.values()), tuple(directed), list(warnings)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:MOST_NAMES_SHOWN])
    more = len(names) - MOST_NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
