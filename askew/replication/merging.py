"""Telemetry of several replicas as one. Pure.

A sidecar that has changed its replica is known to two of them for a while. Its samples are cumulative, so they must
never be added up: the newest of each series counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Protocol, TypeVar

from mesh.telemetry import Telemetry


class Sample(Protocol):
    """What is known to have been so at a time."""

    @property
    def time_s(self) -> float: ...


V = TypeVar("V", bound=Sample)


def merged(own: Telemetry, others: Sequence[Telemetry]) -> Telemetry:
    """Return ``own``, its clock in force, with what others have heard that is newer or that it has not. O(samples)."""
    if not others:
        return own
    every = (own, *others)
    return replace(
        own,
        loads=_newest((one.loads for one in every), lambda load: load.client),
        counters=_newest((one.counters for one in every), lambda one: (one.container, one.cluster, one.reporter)),
        latencies=_newest((one.latencies for one in every), lambda one: (one.container, one.cluster, one.reporter)),
        nodes=_newest((one.nodes for one in every), lambda one: one.node),
        callers=_newest((one.callers for one in every), lambda one: one.service),
        told=max((one.told for one in every), key=lambda told: told.time_s),
        link_samples=_newest((one.link_samples for one in every), lambda one: one.measurement.container),
        accesses=tuple(chain.from_iterable(one.accesses for one in every)),
        spans=tuple(chain.from_iterable(one.spans for one in every)),
    )


def without_records(telemetry: Telemetry) -> Telemetry:
    """Return what is cumulative of it: records count once, samples until newer ones come."""
    return replace(telemetry, accesses=(), spans=())


def _newest(parts: Iterable[Iterable[V]], key: Callable[[Any], object]) -> tuple[V, ...]:
    found: dict[object, V] = {}
    for one in chain.from_iterable(parts):
        known = found.get(key(one))
        if known is None or known.time_s < one.time_s:
            found[key(one)] = one
    return tuple(found.values())
