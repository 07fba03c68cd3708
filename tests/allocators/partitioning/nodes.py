"""Nodes for the tests of partitioning: windows with a tail that is asked for, tenants, and a step by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from allocators.partitioning.node_view import Divisible, Kind, NodeView, Tenant, Units
from allocators.partitioning.step import Partitioner, Step
from estimators.latency import LatencyWindow
from mesh.topology import ContainerName

CORES = Divisible("cpuset", "cpus", 1.0, 14)
WAYS = Divisible("cache", "ways", 1.0, 20)
SPEED = Divisible("cpu_frequency", "mhz", 100.0, 11, origin=1200.0, pooled=False, nominal=10)
MEMORY = Divisible("memory", "bytes", 1e9, 60)
NETWORK = Divisible("network_egress", "bits_per_s", 0.5e9, 20)
COMPUTE = (CORES, WAYS, SPEED)


def window(slack: float, *, target_ms: float = 10.0, count: int = 1000, start_s: float = 0.0) -> LatencyWindow:
    """Return a window of ``count`` requests that all took (1 - slack) of the target, to 1 part in 100."""
    at = (1.0 - slack) * target_ms
    return LatencyWindow(start_s, start_s + 0.5, (0.99 * at, 1.0001 * at), (0, count, 0), count * at)


def tenant(
    name: str, units: Units | None = None, *, resources: tuple[Divisible, ...] = COMPUTE,
    kind: Kind = "latency-critical", slack: float | None = None, count: int = 1000, **more: Any,
) -> Tenant:  # fmt: skip
    """Return a tenant whose last window had this slack (None: no window)."""
    least = tuple(0 if divisible.resource == "cpu_frequency" else 1 for divisible in resources)
    most = tuple(divisible.total for divisible in resources)
    target = 10.0 if kind == "latency-critical" else None
    seen = None if slack is None else window(slack, count=count)
    fields = {"target_ms": target, "window": seen, "requests_per_s": 2.0 * count} | more
    return Tenant(ContainerName(name), kind, units, least, most, **fields)


def view(*tenants: Tenant, resources: tuple[Divisible, ...] = COMPUTE, time_s: float = 0.0) -> NodeView:
    """Return a node with these tenants."""
    return NodeView(time_s, resources, tenants)


def held(step: Step[Any]) -> dict[str, Units]:
    """Return what a step wants each container to hold."""
    return {str(grant.containers[0]): grant.units for grant in step.wanted if grant.units is not None}


def again(
    strategy: Partitioner[Any], before: Step[Any], seen: NodeView, *, time_s: float, **slacks: float
) -> tuple[Step[Any], NodeView]:
    """Return the next step and its view: everybody holds what was wanted, and has the slack that is given."""
    wanted = held(before)
    tenants = tuple(
        replace(
            one,
            units=wanted[str(one.container)],
            window=window(slacks[str(one.container)]) if str(one.container) in slacks else None,
        )
        for one in seen.tenants
    )
    now = replace(seen, tenants=tenants, time_s=time_s)
    return strategy.step(before.memory, now), now
