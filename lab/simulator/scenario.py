"""What happens in a run: machines, demand, work, neighbours; nothing of any policy.

Times are in seconds, rates in requests per second, speeds relative to an undisturbed container.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from lab.simulator.call_graph import Operation

Discipline = Literal["fifo", "sharing"]
WorkShape = Literal["exponential", "lognormal", "bimodal", "constant"]


@dataclass(frozen=True, slots=True)
class Work:
    """The distribution of one call's work: seconds that an undisturbed worker needs.

    ``lognormal`` has the given coefficient of variation; ``bimodal`` is nine parts of one size and one of twenty
    times that size; ``mean_s`` is the mean of all of them.
    """

    mean_s: float = 0.010
    shape: WorkShape = "lognormal"
    variation: float = 1.0


@dataclass(frozen=True, slots=True)
class Client:
    """A load source with its own sidecar: on which node, how many requests per second."""

    node: int
    rate: float


@dataclass(frozen=True, slots=True)
class Container:
    """One replica of a service. ``speed`` is its speed while no antagonist of the scenario disturbs it."""

    node: int
    speed: float = 1.0
    workers: int = 2


@dataclass(frozen=True, slots=True)
class Service:
    """A called service and the work of one call to it."""

    name: str
    containers: tuple[Container, ...]
    work: Work = Work()


@dataclass(frozen=True, slots=True)
class Slowdown:
    """From ``start_s`` to ``end_s`` the container runs at ``factor`` of its speed."""

    service: int
    container: int
    start_s: float
    end_s: float
    factor: float


@dataclass(frozen=True, slots=True)
class Antagonist:
    """A neighbour that comes and goes: exponential on and off times, drawn per seed."""

    service: int
    container: int
    factor: float
    mean_on_s: float = 30.0
    mean_off_s: float = 90.0


@dataclass(frozen=True, slots=True)
class Surge:
    """From ``start_s`` to ``end_s`` the clients on ``node`` send ``factor`` times their rate."""

    node: int
    start_s: float
    end_s: float
    factor: float


@dataclass(frozen=True, slots=True)
class Kill:
    """At ``at_s`` the container dies for good; what it held fails, what reaches it is refused."""

    service: int
    container: int
    at_s: float


@dataclass(frozen=True, slots=True)
class Network:
    """Round trips in seconds, and what a connection costs.

    ``connection_cost`` is the part of one call's work that each open connection of a server adds to every call it
    serves (0.0009 is Imbres' +18 % at 200 peers); ``handshake`` says how many round trips opening one takes.
    """

    same_node_s: float = 0.0002
    cross_node_s: float = 0.001
    connection_cost: float = 0.0
    handshakes: float = 0.0


@dataclass(frozen=True, slots=True)
class Observation:
    """The information model: how often, how late.

    ``window_s`` is the length of every measurement window; ``delay_s`` passes from its end to a policy's tick;
    ``discovery_s`` from a container's death until policies hear of it. A failed call is tried ``retries`` times more.
    """

    window_s: float = 1.0
    delay_s: float = 0.1
    discovery_s: float = 1.0
    retries: int = 2


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that a run is given besides the policy and the seed.

    Attributes
    ----------
    zones:
        The zone of each node; nodes are 0..len(zones)-1.
    operations:
        The call trees that clients ask for, with their shares of the requests; the root of each is called by clients.
    slo_s:
        Deadline that counts violations.
    warmup_s, duration_s:
        Requests that start in [warmup_s, duration_s) are measured; all of them are waited for.
    """

    name: str
    zones: tuple[int, ...]
    clients: tuple[Client, ...]
    services: tuple[Service, ...]
    operations: tuple[Operation, ...]
    duration_s: float = 120.0
    warmup_s: float = 30.0
    slo_s: float = 0.050
    discipline: Discipline = "fifo"
    network: Network = Network()
    observation: Observation = Observation()
    slowdowns: tuple[Slowdown, ...] = ()
    antagonists: tuple[Antagonist, ...] = ()
    surges: tuple[Surge, ...] = ()
    kills: tuple[Kill, ...] = field(default=())

    @property
    def rate(self) -> float:
        """Requests per second of all clients together, without surges."""
        return sum(client.rate for client in self.clients)

    @property
    def steps_s(self) -> tuple[float, ...]:
        """When something of the world changes as the scenario says (not antagonists, which a seed draws)."""
        times = {each.at_s for each in self.kills}
        times |= {at_s for each in self.slowdowns for at_s in (each.start_s, each.end_s)}
        times |= {at_s for each in self.surges for at_s in (each.start_s, each.end_s)}
        return tuple(sorted(at_s for at_s in times if 0.0 < at_s < self.duration_s))

    def shortened(self, *, duration_s: float, warmup_s: float) -> Scenario:
        """Return the same scenario over another time."""
        return replace(self, duration_s=duration_s, warmup_s=warmup_s)
