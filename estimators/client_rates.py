"""How much each client container sends to a service: given, or else assumed equal."""

from __future__ import annotations

from collections.abc import Mapping

from mesh.picture import ClientRates
from mesh.topology import ContainerName, ServiceName, ServicePort, Topology

ASSUMED_REQUESTS_PER_S = 1.0


def client_rates(topology: Topology) -> Mapping[ServicePort, ClientRates]:
    """Return the rates of every called service port.

    Rates of the mesh file never age. A client that the file leaves out, while it names others of the same service,
    counts as their mean. Where no rate is known, or all are 0, every client counts the same: only ratios matter.

    Cost: O(calls × containers).
    """
    given: dict[ServiceName, dict[ContainerName, float]] = {}
    for rate in topology.rates:
        given.setdefault(rate.service, {})[rate.client] = rate.requests_per_s
    rates = {}
    for service in topology.services:
        names = [client.name for client in topology.clients_of[service.name]]
        found = _complete(names, given.get(service.name, {}))
        for port in service.ports:
            rates[service.service_port(port)] = found
    return rates


def _complete(clients: list[ContainerName], given: Mapping[ContainerName, float]) -> ClientRates:
    if not any(given.values()):
        return ClientRates(dict.fromkeys(clients, ASSUMED_REQUESTS_PER_S), "assumed")
    mean = sum(given.values()) / len(given)
    return ClientRates({client: given.get(client, mean) for client in clients}, "given")
