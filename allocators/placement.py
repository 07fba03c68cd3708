"""Which node is nearest to whom a new pod will talk to (NetMARKS): a score of each node, from flows and pods.

A new pod has no traffic yet, so the flows are those of its workload: what it exchanges with another workload is spread
evenly over that one's pods, and a node scores by what of it stands there. Neighbours of neighbours do not count.

Source: Wojciechowski et al., "NetMARKS: Network Metrics-AwaRe Kubernetes Scheduler Powered by Service Mesh", IEEE
INFOCOM 2021, doi 10.1109/INFOCOM42981.2021.9488670.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

HIGHEST = 10
"""Of a kube-scheduler extender (``MaxExtenderPriority``); the lowest is 0."""

Exchange = Mapping[str, Mapping[str, float]]
"""Bytes per second, both directions together, by workload and by whom it is exchanged with."""

Placed = Mapping[str, Mapping[str, int]]
"""Pods of each workload on each node."""


class Directed(Protocol):
    """Bytes per second from one workload to another: ``mesh.picture.Link``, ``estimators.flows.Flow``."""

    @property
    def source(self) -> str:
        """Who sends."""

    @property
    def target(self) -> str:
        """Who receives."""

    @property
    def rate_bytes_per_s(self) -> float:
        """How much; >= 0."""


@dataclass(frozen=True, slots=True)
class StandingPod:
    """A pod that has a node. Names are compared with the new pod's only."""

    name: str
    workload: str
    node: str


@dataclass(frozen=True, slots=True)
class NodeScore:
    """How near a node is: 0 to 10, whole."""

    node: str
    score: int


def score_nodes(
    nodes: Sequence[str],
    pods: Iterable[StandingPod],
    flows: Iterable[Directed],
    *,
    workload: str,
    name: str = "",
) -> tuple[NodeScore, ...]:
    """Return each node's score for a new pod of ``workload``, highest first, ties by node name.

    ``raw(n) = Σ over pods p on n of (F(w_p, w) + F(w, w_p)) / (pods of w_p)`` and
    ``score = round(10 · raw / max raw)``. Where nobody is known to talk to the workload all nodes score 0: no opinion.

    Parameters
    ----------
    nodes:
        To be scored, each once.
    pods:
        All pods that stand somewhere, also on nodes that are not asked for.
    flows:
        Directed, in bytes/s, at most one for each ordered pair.
    workload, name:
        Of the new pod. A standing pod of the same name is the new pod's former self and does not count.

    Notes
    -----
    O(pods + flows + nodes · log nodes).

    Examples
    --------
    >>> from estimators.flows import Flow
    >>> pods = [StandingPod("frontend-0", "frontend", "n1"), StandingPod("frontend-1", "frontend", "n2"),
    ...         StandingPod("db-0", "db", "n2")]
    >>> flows = [Flow("frontend", "cart", 1000.0), Flow("cart", "db", 500.0)]
    >>> for one in score_nodes(["n1", "n2", "n3"], pods, flows, workload="cart"):
    ...     print(one.node, one.score)
    n2 10
    n1 5
    n3 0
    """
    raw = attraction(exchange_of(flows).get(workload, {}), placed(pods, but=name))
    scores = scores_of([raw.get(node, 0.0) for node in nodes])
    found = [NodeScore(node, score) for node, score in zip(nodes, scores, strict=True)]
    return tuple(sorted(found, key=lambda one: (-one.score, one.node)))


def exchange_of(flows: Iterable[Directed]) -> Exchange:
    """Return ``F(a, b) + F(b, a)`` under both ``a`` and ``b``. O(flows)."""
    found: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    for flow in flows:
        found[flow.source][flow.target] += flow.rate_bytes_per_s
        found[flow.target][flow.source] += flow.rate_bytes_per_s
    return found


def placed(pods: Iterable[StandingPod], *, but: str = "") -> Placed:
    """Return how many pods of each workload stand on each node; those named ``but`` are left out. O(pods)."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for pod in pods:
        if pod.name != but:
            found[pod.workload][pod.node] += 1
    return found


def attraction(partners: Mapping[str, float], stand: Placed) -> dict[str, float]:
    """Return the bytes/s that a new pod may expect to exchange with each node; nodes without any are absent.

    O(nodes that each partner stands on). The sums do not depend on any order.

    >>> attraction({"frontend": 1000.0}, {"frontend": {"n1": 3, "n2": 1}})
    {'n1': 750.0, 'n2': 250.0}
    """
    parts: defaultdict[str, list[float]] = defaultdict(list)
    for partner, rate in partners.items():
        on = stand.get(partner, {})
        pods = sum(on.values())
        for node, here in on.items():
            parts[node].append(rate * here / pods)
    return {node: math.fsum(found) for node, found in parts.items()}


def scores_of(raw: Sequence[float]) -> list[int]:
    """Return ``round(10 · raw / max)`` of each, to the even number where it lies between two; 0 where all are 0.

    >>> scores_of([400.0, 100.0, 0.0]), scores_of([0.0, 0.0])
    ([10, 2, 0], [0, 0])
    """
    most = max(raw, default=0.0)
    if most <= 0.0:
        return [0] * len(raw)
    return [round(HIGHEST * one / most) for one in raw]


def less_crowded(scores: Sequence[int], replicas: Sequence[int], *, share: float) -> list[int]:
    """Return the scores, halved (rounded down) on a node that holds more than ``share`` of the pod's own siblings.

    For whom it matters more that one node may fail than that all traffic is local. ``share`` 1 changes nothing.

    Parameters
    ----------
    replicas:
        Of the pod's own workload, on each node of ``scores``; >= 0.

    >>> less_crowded([10, 4], [3, 1], share=0.5)
    [5, 4]
    """
    most = share * sum(replicas)
    return [score // 2 if here > most else score for score, here in zip(scores, replicas, strict=True)]
