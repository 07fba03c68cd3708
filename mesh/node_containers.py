"""What a node's agent is told of a container: where it is, what it should keep, and where its latency is to be read."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.policy import Slo
from mesh.topology import ContainerName, NodeName


@dataclass(frozen=True, slots=True)
class NodeContainer:
    """A container of a node.

    Attributes
    ----------
    runtime_id:
        The id by which its runtime, and the path of its control group, name it.
    best_effort:
        It gives its resources first, and has no objective.
    latency_url:
        The page of its request times, the histogram after ``#``; empty where none is known.
    """

    name: ContainerName
    runtime_id: str
    best_effort: bool = False
    slo: Slo | None = None
    latency_url: str = ""


@dataclass(frozen=True, slots=True)
class MoveWish:
    """A container that wants to leave its node, as the node's agent sees it. A wish: nobody has to follow it.

    Attributes
    ----------
    certain:
        It was shown that no partition of the node meets all targets; else none was found in time.
    since_s:
        When we first heard of it.
    """

    node: NodeName
    container: ContainerName
    reason: str
    certain: bool
    since_s: float
