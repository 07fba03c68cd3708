"""How much each client container sends to a service: given, or else measured, or as last known, or else assumed equal.

Order of trust, for each service port: rates of the mesh file, which never age; what sidecars report; what they
reported last (a silent client is unknown, not idle: after 12 intervals its rate goes back to the mean of those that
are heard, a twelfth each interval; where nobody is heard the last rates stay); the same for everyone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from estimators.ages import relaxed_part
from estimators.load_reports import ClientRequests, Requests
from mesh.picture import ClientRates, RateMethod
from mesh.topology import Container, ContainerName, ServiceName, ServicePort, Topology

ASSUMED_REQUESTS_PER_S = 1.0
FEWEST_REQUESTS = 20.0  # of all clients of a service port; fewer say nothing about who sends how much

Rates = Mapping[ContainerName, float]


@dataclass(frozen=True)
class KnownRates:
    """The last rates of each service port that rested on enough requests; they outlive a quiet night."""

    by_port: Mapping[ServicePort, Rates] = field(default_factory=dict)


def client_rates(
    topology: Topology, requests: Requests, known: KnownRates, *, now_s: float
) -> tuple[Mapping[ServicePort, ClientRates], KnownRates]:
    """Return the rates of every called service port, and the last known ones to remember.

    A client of which nothing is known, while something is of others of the same service, counts as their mean. Where
    nothing is known of anyone, or all given rates are 0, every client counts the same: only ratios matter.

    Cost: O(calls × containers).
    """
    given: dict[ServiceName, dict[ContainerName, float]] = {}
    for rate in topology.rates:
        given.setdefault(rate.service, {})[rate.client] = rate.requests_per_s
    rates: dict[ServicePort, ClientRates] = {}
    last: dict[ServicePort, Rates] = {}
    for service in topology.services:
        clients = topology.clients_of[service.name]
        for port in service.ports:
            service_port = service.service_port(port)
            measured = _measured(clients, service_port, requests, known.by_port.get(service_port), now_s=now_s)
            if measured:
                last[service_port] = measured
            ages = {
                client.name: requests[client.name].heard.age_s(now_s)
                for client in clients
                if client.name in measured and client.name in requests
            }
            rates[service_port] = _joined(clients, given.get(service.name, {}), measured, ages)
    return rates, KnownRates(last)


def _measured(
    clients: Sequence[Container], service_port: ServicePort, requests: Requests, last: Rates | None, *, now_s: float
) -> Rates:
    """Return the rates of the clients that have ever been heard; nothing where they sent too little."""
    heard = {client.name: requests[client.name] for client in clients if client.name in requests}
    told = {name: one.told(service_port) for name, one in heard.items()}
    if sum(count.events for count in told.values()) < FEWEST_REQUESTS:
        present = {client.name for client in clients}
        return {name: rate for name, rate in (last or {}).items() if name in present}
    rates = {name: count.per_s for name, count in told.items()}
    return _relaxed(rates, heard, now_s=now_s)


def _relaxed(
    rates: dict[ContainerName, float], heard: Mapping[ContainerName, ClientRequests], *, now_s: float
) -> Rates:
    """Return the rates with those of clients that have long been silent on their way to the mean of the others."""
    parts = {name: relaxed_part(one.heard.intervals(now_s)) for name, one in heard.items()}
    usable = [rates[name] for name, part in parts.items() if part == 0.0]
    if not usable or len(usable) == len(rates):
        return rates
    mean = sum(usable) / len(usable)
    return {name: rate + parts[name] * (mean - rate) for name, rate in rates.items()}


def _joined(
    clients: Sequence[Container], given: Rates, measured: Rates, ages: Mapping[ContainerName, float]
) -> ClientRates:
    given = given if any(given.values()) else {}
    known = {**measured, **given}
    if not any(known.values()):
        assumed: RateMethod = "assumed"
        names = [client.name for client in clients]
        return ClientRates(dict.fromkeys(names, ASSUMED_REQUESTS_PER_S), assumed, dict.fromkeys(names, assumed))
    base = given or measured
    mean = sum(base.values()) / len(base)
    rates: dict[ContainerName, float] = {}
    methods: dict[ContainerName, RateMethod] = {}
    for client in clients:
        rates[client.name] = known.get(client.name, mean)
        methods[client.name] = "given" if client.name in given else "measured" if client.name in measured else "assumed"
    return ClientRates(
        rates,
        "given" if given else "measured",
        methods,
        {name: age for name, age in ages.items() if methods[name] == "measured"},
    )
