"""Requests that each client's sidecar has issued: from cumulative load reports to steady rates and their ages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from estimators.ages import Heard, heard
from estimators.steady_rate import Counted, SteadyRate, observe
from mesh.telemetry import LoadReport
from mesh.topology import ContainerName, ServicePort

Issued = Mapping[ServicePort, Mapping[str, int]]
"""Requests by service port and ``host:port`` of the endpoint."""
Totals = Mapping[tuple[str, str], int]
"""A client's cumulative counts by cluster and ``host:port``."""


@dataclass(frozen=True)
class ClientRequests:
    """What is known of one client: when it was heard, what it had counted then, its rate to each port that it called.

    A service port that is not mentioned has not been called: its rate is 0, and that is known.
    """

    heard: Heard
    covered_s: float
    totals: Totals = field(default_factory=dict)
    rates: Mapping[ServicePort, SteadyRate] = field(default_factory=dict)

    def told(self, service_port: ServicePort) -> Counted:
        """Return what planners are told of the rate to a service port."""
        rate = self.rates.get(service_port)
        return Counted(0.0, self.covered_s) if rate is None else rate.told


Requests = Mapping[ContainerName, ClientRequests]


def read_load_reports(
    known: Requests, reports: Iterable[LoadReport], *, clients: Iterable[ContainerName], tick_s: float
) -> tuple[Requests, Issued]:
    """Return what is known of the ``clients`` after these reports, and how often each endpoint was asked since.

    Reports are cumulative. One that covers less time than the one before comes from a count that began anew, and counts
    from zero. One with the same time is the same report. A client that is silent stays as it was; one that is not among
    ``clients`` is forgotten.

    Returns
    -------
    tuple
        O(endpoints of the new reports). The second part holds the increases of this call only.
    """
    wanted = frozenset(clients)
    requests = {name: one for name, one in known.items() if name in wanted}
    issued: dict[ServicePort, dict[str, int]] = {}
    for report in reports:
        if report.client not in wanted:
            continue
        before = requests.get(report.client)
        if before is None or report.time_s > before.heard.time_s:
            requests[report.client] = _advanced(before, report, issued, tick_s=tick_s)
    return requests, issued


def _advanced(
    before: ClientRequests | None, report: LoadReport, issued: dict[ServicePort, dict[str, int]], *, tick_s: float
) -> ClientRequests:
    now = heard(before.heard if before else None, report.time_s, tick_s=tick_s)
    rates = dict(before.rates) if before else {}
    earlier = before if before is not None and before.covered_s <= report.covered_s else None
    covered_s = earlier.covered_s if earlier else 0.0
    seconds = report.covered_s - covered_s
    events, totals = _increases(earlier.totals if earlier else {}, report, issued)
    if seconds <= 0.0:
        return ClientRequests(now, report.covered_s, totals, rates)
    for service_port in rates.keys() | events.keys():
        rate = rates.get(service_port)
        if rate is None and covered_s > 0.0:
            silence = Counted(0.0, covered_s)
            rate = SteadyRate(silence, silence)
        rates[service_port] = observe(rate, Counted(float(events.get(service_port, 0)), seconds))
    return ClientRequests(now, report.covered_s, totals, rates)


def _increases(
    then: Totals, report: LoadReport, issued: dict[ServicePort, dict[str, int]]
) -> tuple[dict[ServicePort, int], Totals]:
    """Return what a client sent to each service port since ``then``, and its counts now; add the former to ``issued``.

    A count that fell was given up in between and counts from zero. Written for speed: a mesh has many endpoints.
    """
    events: dict[ServicePort, int] = {}
    totals: dict[tuple[str, str], int] = {}
    port, places = None, {}
    for load in report.endpoints:
        if load.service_port is None:
            continue
        if load.service_port is not port:  # the endpoints of a cluster stand together: look its port up once
            port = load.service_port
            places = issued.setdefault(port, {})
            events.setdefault(port, 0)
        key = (load.cluster, load.address)
        count = totals[key] = load.issued
        before = then.get(key, 0)
        grown = count - before if count >= before else count
        if grown:
            events[port] += grown
            places[load.address] = places.get(load.address, 0) + grown
    return events, totals
