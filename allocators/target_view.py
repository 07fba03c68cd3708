"""What targets are decided from, and what must survive from one decision to the next: values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from allocators.errors import ProblemError
from allocators.problem import parts
from estimators.server_speeds import ServerSpeeds, unknown_speeds

Floats = NDArray[np.float64]
FRESH_INTERVALS, OLD_INTERVALS = 3.0, 12.0


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """How targets move. The defaults are the product's; the lab changes some to show what they do."""

    floor: float = 0.02
    """Of the fair share: what even the slowest endpoint gets, so that it is still seen."""
    step: float = 0.3
    """Of the fair share: the most by which a push changes a target."""
    relax_step: float = 0.1
    """Of the fair share: how far a tick without telemetry goes back to neutral."""
    eta: float = 0.8
    """Part of the way to the optimum that a tick goes, at first."""
    least_eta: float = 0.1
    """How far η backs off when targets go to and fro."""
    worth: float = 0.005
    """Of mean latency: what a change must promise, or the targets stay."""
    worth_going_on: float = 0.001
    """The same while targets are moving, so that they do not stop half-way."""
    fewest: int = 20
    """Requests that a figure needs; until then windows are put together."""
    failure: float = 10.0
    """A failed request counts as this many mean latencies of the service on top of its own."""
    slow_start_intervals: float = 6.0
    """How long a new container takes to its fair share."""
    imbres_eta: float = 0.2
    """Imbres' constant η."""


@dataclass(frozen=True, eq=False)
class ServiceView:
    """One service as its sidecars see it in this tick. M endpoints.

    Attributes
    ----------
    capacities:
        Relative, shape ``(M,)``, > 0.
    requests, failures:
        What ended in the window and how much of it failed, shape ``(M,)``.
    mean_ms:
        Mean latency of these, shape ``(M,)``; NaN where there was none.
    window_s:
        Length of the window, shape ``(M,)``; NaN where nothing new came from the endpoint.
    newest_s:
        Time of the newest sample of the service, or None where there never was one.
    tail_ms:
        p99 over the whole service in this window, or None where it is not known.
    table_service_ms:
        Service time that the performance table expects at each endpoint, shape ``(M,)``, NaN for none; or None.
    unsteered_per_s:
        Load from clients that are not steered, shape ``(M,)``: a target cannot go below; or None.
    issued:
        What clients sent to each endpoint in the window, shape ``(M,)``, or None: where far less ended, it hangs.
    crossing_price_ms, demand_per_s:
        Price of a request that leaves its node, and what the clients on each node send; nodes left out send nothing.
    """

    endpoints: tuple[str, ...]
    nodes: tuple[str, ...]
    capacities: Floats
    requests: Floats
    failures: Floats
    mean_ms: Floats
    window_s: Floats
    newest_s: float | None
    tail_ms: float | None = None
    table_service_ms: Floats | None = None
    unsteered_per_s: Floats | None = None
    issued: Floats | None = None
    crossing_price_ms: float = 0.0
    demand_per_s: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        size = len(self.endpoints)
        for name in ("capacities", "requests", "failures", "mean_ms", "window_s"):
            if getattr(self, name).shape != (size,):
                raise ProblemError(f"{name}: found shape {getattr(self, name).shape}, allowed: {(size,)}")
        if len(self.nodes) != size or len(set(self.endpoints)) != size:
            raise ProblemError("endpoints: found a name twice or no node, allowed: each once, with its node")
        if size and not (self.capacities.min() > 0.0 and self.capacities.max() < np.inf):
            raise ProblemError("capacities: found one that is not above 0, allowed: finite numbers > 0")

    def fair(self) -> Floats:
        """Return ``c_j/Σc``, shape ``(M,)``: the neutral targets."""
        return parts(self.capacities)


def unseen(endpoints: tuple[str, ...], nodes: tuple[str, ...], capacities: Floats) -> ServiceView:
    """Return the view of a service of which nothing was heard."""
    size = len(endpoints)
    nothing, absent = np.zeros(size), np.full(size, np.nan)
    return ServiceView(endpoints, nodes, capacities, nothing, nothing, absent, absent, None)


@dataclass(frozen=True, eq=False)
class Watch:
    """Whether the last pushes made things worse. ``before`` are the targets to go back to, shape ``(M,)``.

    ``last`` and ``in_system`` are the targets and the requests that each endpoint held when it was last looked at;
    ``noise`` is the mean absolute change of log p99 from tick to tick.
    """

    before: Floats
    last: Floats
    in_system: Floats
    tail_ms: float | None = None
    worse: int = 0
    noise: float = 0.0
    excused_until_s: float = -np.inf
    undoing: bool = False
    calm_until_s: float = -np.inf


@dataclass(frozen=True, eq=False)
class TargetMemory:
    """What the next decision must know, per endpoint in the order of ``endpoints`` (shape ``(M,)`` each).

    Attributes
    ----------
    targets:
        In force, summing to 1.
    pending:
        Windows not yet enough for a figure, shape ``(5, M)``: requests, failures, summed latency in ms, seconds,
        requests that began and had not ended.
    quiet:
        Ticks in a row without a figure although the endpoint reported.
    heard_s, joined_s:
        When it last reported, and when it was first seen (−inf: it was there from the start).
    signs:
        Direction of its last change worth the name: −1, 0, 1.
    warm_from:
        Target with which it started, while it warms up.
    eta, flips:
        The part of the way that a step goes, and for the last ticks whether most of what moved went back.
    newest_s, relaxed_s:
        Newest sample that was used, and when targets last relaxed.
    total_per_s:
        Requests per second of the whole service when last seen; 0 for not yet.
    moved:
        Whether the last decision changed a target.
    """

    endpoints: tuple[str, ...]
    targets: Floats
    speeds: ServerSpeeds
    pending: Floats
    quiet: Floats
    heard_s: Floats
    joined_s: Floats
    signs: Floats
    warm_from: Floats
    watch: Watch
    eta: float
    flips: tuple[bool, ...] = ()
    newest_s: float | None = None
    relaxed_s: float = -np.inf
    total_per_s: float = 0.0
    moved: bool = False


@dataclass(frozen=True, eq=False)
class TargetDecision:
    """Targets, shape ``(M,)`` summing to 1, what to remember, one sentence why, and what an operator should hear."""

    targets: Floats
    memory: TargetMemory
    reason: str
    oscillating: bool = False
    undone: bool = False


def fresh_memory(endpoints: tuple[str, ...], targets: Floats, settings: TargetSettings) -> TargetMemory:
    """Return the memory of a service that is seen for the first time: nothing known, nobody new."""
    size = len(endpoints)
    return TargetMemory(
        endpoints=endpoints,
        targets=targets,
        speeds=unknown_speeds(endpoints),
        pending=np.zeros((5, size)),
        quiet=np.zeros(size),
        heard_s=np.full(size, -np.inf),
        joined_s=np.full(size, -np.inf),
        signs=np.zeros(size),
        warm_from=np.zeros(size),
        watch=Watch(before=targets, last=targets, in_system=np.zeros(size)),
        eta=settings.eta,
    )
