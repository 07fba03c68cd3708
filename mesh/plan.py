"""The plan: what should be, for every service port, as one frozen value per tick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.policy import Programming
from mesh.shares import Shares
from mesh.topology import ContainerName, ServicePort


@dataclass(frozen=True, slots=True)
class EndpointTarget:
    """What one endpoint should get, and why.

    Attributes
    ----------
    part, fair_part:
        Of all requests of the service: as decided, and by capacity alone.
    service_ms:
        Work of one request there without waiting, as estimated; None where nothing is known of it.
    why:
        Part of a sentence.
    """

    part: float
    fair_part: float
    service_ms: float | None
    why: str


@dataclass(frozen=True)
class ChosenTargets:
    """How targets that lean on fast endpoints came about. ``reason`` is one sentence about the whole service.

    ``oscillating``: they go to and fro, and steps are damped. ``undone``: the last ones made p99 worse and are taken
    back.
    """

    endpoints: Mapping[ContainerName, EndpointTarget]
    reason: str
    oscillating: bool = False
    undone: bool = False


@dataclass(frozen=True)
class ServicePlan:
    """What one service port should look like on the wire.

    Attributes
    ----------
    shares:
        Client × endpoint fractions.
    client_rates:
        Requests per second of each client, as the decision used them; measured, given, or assumed equal.
    targets:
        Requests per second that each endpoint should get.
    local_share, cross_node_share:
        Parts of all requests that stay on, or leave, their client's node.
    lower_bound_cross_node_share:
        The least that any shares with these targets could reach.
    programming:
        In which of Envoy's forms the shares are written.
    unsteered:
        Requests per second on each endpoint from clients that are not steered.
    chosen:
        How the targets came about where latency decided; None for targets by capacity.
    applied:
        False in observe mode: computed and shown, never sent.
    reason:
        One sentence: why these shares.
    """

    service_port: ServicePort
    shares: Shares
    client_rates: Mapping[ContainerName, float]
    targets: Mapping[ContainerName, float]
    local_share: float
    cross_node_share: float
    lower_bound_cross_node_share: float
    programming: Programming
    reason: str
    applied: bool = True
    unsteered: Mapping[ContainerName, float] = field(default_factory=dict)
    chosen: ChosenTargets | None = None

    def sends_the_same_as(self, other: ServicePlan) -> bool:
        """Whether proxies are told the same; rates, targets and figures may differ."""
        return (
            self.shares.same_as(other.shares)
            and self.programming == other.programming
            and self.applied == other.applied
        )


@dataclass(frozen=True)
class Plan:
    """All service plans of one tick. A service port without an entry is not managed: all endpoints, equal weights.

    ``generation`` grows when proxies are to be told something else, not when figures alone change.
    """

    generation: int = 0
    services: Mapping[ServicePort, ServicePlan] = field(default_factory=dict)

    def following(self, earlier: Plan) -> Plan:
        """Return this plan with the service plans of ``earlier`` that send the same: unchanged ones by identity."""
        before = earlier.services
        services = {
            key: before[key] if key in before and plan.sends_the_same_as(before[key]) else plan
            for key, plan in self.services.items()
        }
        return Plan(self.generation, services)
