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
CHANGING_INTERVALS = 3.0
FEWEST_REQUESTS = 50.0  # of all clients of a service port; fewer say nothing about who sends how much

Rates = Mapping[ContainerName, float]


@dataclass(frozen=True)
class KnownRates:
    """The last rates of each service port that rested on enough requests; they outlive a quiet night.

    ``changing_since_s`` is when a client of a service port began to be in the middle of a change, if one is.
    """

    by_port: Mapping[ServicePort, Rates] = field(default_factory=dict)
    changing_since_s: Mapping[ServicePort, float] = field(default_factory=dict)


def client_rates(
    topology: Topology, requests: Requests, known: KnownRates, *, now_s: float
) -> tuple[Mapping[ServicePort, ClientRates], KnownRates]:
    """Return the rates of every called service port, and the last known ones to remember.

    A client of which nothing is known, while something is of others of the same service, counts as their mean. Where
    nothing is known of anyone, or all given rates are 0, every client counts the same: only ratios matter.

    While a client is in the middle of a change the rates of its service port stay as they were, for up to 3 intervals:
    a change of all shows in some clients' reports a tick earlier than in others', and a mixture of both is wrong.

    Cost: O(calls × containers).
    """
    given: dict[ServiceName, dict[ContainerName, float]] = {}
    for rate in topology.rates:
        given.setdefault(rate.service, {})[rate.client] = rate.requests_per_s
    rates: dict[ServicePort, ClientRates] = {}
    last: dict[ServicePort, Rates] = {}
    changing: dict[ServicePort, float] = {}
    for service in topology.services:
        clients = topology.clients_of[service.name]
        for port in service.ports:
            service_port = service.service_port(port)
            heard = {client.name: requests[client.name] for client in clients if client.name in requests}
            before = {name: rate for name, rate in known.by_port.get(service_port, {}).items() if name in heard}
            interval_s = _changing_interval_s(heard, service_port, now_s=now_s)
            if interval_s is not None:
                changing[service_port] = known.changing_since_s.get(service_port, now_s)
            is_held = interval_s is not None and now_s - changing[service_port] < CHANGING_INTERVALS * interval_s
            measured = before if is_held else _measured(heard, service_port, before, now_s=now_s)
            if measured:
                last[service_port] = measured
            ages = {name: one.heard.age_s(now_s) for name, one in heard.items() if name in measured}
            rates[service_port] = _joined(clients, given.get(service.name, {}), measured, ages)
    return rates, KnownRates(last, changing)


def _changing_interval_s(
    heard: Mapping[ContainerName, ClientRequests], service_port: ServicePort, *, now_s: float
) -> float | None:
    """Return the longest interval of the clients that are in the middle of a change; None where none is."""
    changing = [
        one.heard.interval_s
        for one in heard.values()
        if (rate := one.rates.get(service_port)) is not None and rate.in_change and one.heard.is_fresh(now_s)
    ]
    return max(changing, default=None)


def _measured(
    heard: Mapping[ContainerName, ClientRequests], service_port: ServicePort, before: Rates, *, now_s: float
) -> Rates:
    """Return the rates of the clients that have ever been heard; those from before where they sent too little."""
    told = {name: one.told(service_port) for name, one in heard.items()}
    if sum(count.events for count in told.values()) < FEWEST_REQUESTS:
        return before
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
