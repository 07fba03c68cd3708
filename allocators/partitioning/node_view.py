"""What a step of a partitioning strategy sees: a node's resources, and what each container holds, needs and suffers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from allocators.errors import ProblemError
from estimators.latency import LatencyWindow
from mesh.actions import UNITS_OF, Resource, Unit
from mesh.topology import ContainerName

Kind = Literal["latency-critical", "best-effort"]
Units = tuple[int, ...]  # one whole number for each resource of the node, in the node's order


@dataclass(frozen=True, slots=True)
class Divisible:
    """One resource of a node, cut into equal units that containers hold in whole numbers.

    Attributes
    ----------
    resource, unit:
        The nouns of an action (``mesh/actions.py``): ``cpuset`` in cpus, ``cache`` in ways, …
    step:
        What one unit is, in ``unit``: 1 CPU, 1 way, 100 MHz, 1 GB.
    total:
        Units that there are on the node; where not ``pooled``, the most that one container can hold.
    origin:
        What zero units are, in ``unit`` (a frequency begins at the lowest one).
    pooled:
        Whether what one holds another cannot: cores, ways, memory. False for frequency.
    nominal:
        Units that a container begins with where not ``pooled``; None: as many as it can hold.
    """

    resource: Resource
    unit: Unit
    step: float
    total: int
    origin: float = 0.0
    pooled: bool = True
    nominal: int | None = None

    def __post_init__(self) -> None:
        if self.unit not in UNITS_OF[self.resource]:
            raise ProblemError(
                f"resources.{self.resource}.unit: found {self.unit!r}, allowed: {UNITS_OF[self.resource]}"
            )
        if not self.step > 0.0 or self.total < 0:
            raise ProblemError(f"resources.{self.resource}: found {self}, allowed: a step > 0 and a total >= 0")

    def amount(self, units: int) -> float:
        """Return what so many units are, in ``unit``.

        >>> Divisible("cpu_frequency", "mhz", 100.0, 11, origin=1200.0, pooled=False).amount(10)
        2200.0
        """
        return self.origin + self.step * units


@dataclass(frozen=True, slots=True)
class Tenant:
    """One container of the node as it is now.

    Attributes
    ----------
    units:
        What it holds, in the order of ``NodeView.resources``; None for a newcomer that holds nothing of its own yet.
    least, most:
        Bounds on ``units`` (its requests and limits); a strategy never goes outside them.
    target_ms, percentile:
        The objective: ``percentile`` per cent of requests end within ``target_ms``. None: nothing is promised.
    window:
        Requests that ended since the last step, by latency; None where nothing could be read (not: no requests).
    requests_per_s:
        Arrivals since the last step; what is asked, not what was served.
    cpu_cores:
        Cores that it kept busy since the last step (CPU seconds a second); NaN where not measured.
    memory_bytes, disk_bytes_per_s, network_bits_per_s:
        What it uses of these; NaN where not measured.
    in_memory:
        Whether it keeps its data in memory and never on disk: memory is then taken from it last.
    stateless:
        Whether it may be started elsewhere and stopped here without moving data: it is asked to migrate first.
    """

    container: ContainerName
    kind: Kind
    units: Units | None
    least: Units
    most: Units
    target_ms: float | None = None
    percentile: float = 99.0
    window: LatencyWindow | None = None
    requests_per_s: float = 0.0
    cpu_cores: float = float("nan")
    memory_bytes: float = float("nan")
    disk_bytes_per_s: float = float("nan")
    network_bits_per_s: float = float("nan")
    in_memory: bool = False
    stateless: bool = False


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node at one instant; ``tenants`` in any order, each container once.

    ``time_s`` is monotonic. Resources that the node cannot divide are left out of ``resources``.
    """

    time_s: float
    resources: tuple[Divisible, ...]
    tenants: tuple[Tenant, ...]

    def __post_init__(self) -> None:
        width = len(self.resources)
        for tenant in self.tenants:
            for name, units in (("units", tenant.units), ("least", tenant.least), ("most", tenant.most)):
                if units is not None and len(units) != width:
                    raise ProblemError(f"{tenant.container}.{name}: found {len(units)} numbers, allowed: {width}")

    def index_of(self, resource: Resource) -> int | None:
        """Return where a resource stands in ``resources``, or None."""
        return next((i for i, divisible in enumerate(self.resources) if divisible.resource == resource), None)

    def holdings(self) -> Mapping[ContainerName, Units]:
        """Return what each tenant holds; newcomers are left out."""
        return {tenant.container: tenant.units for tenant in self.tenants if tenant.units is not None}
