"""Requests that each client's sidecar has issued: from cumulative load reports to steady rates and their ages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from estimators.ages import Heard, heard
from estimators.steady_rate import Counted, SteadyRate, observe
from mesh.telemetry import LoadReport
from mesh.topology import ContainerName, ServicePort

Place = tuple[ServicePort, str]
"""A service port and the ``host:port`` of one of its endpoints."""


@dataclass(frozen=True)
class ClientRequests:
    """What is known of one client: its last report, when that was, and its rate to each service port it has called.

    A service port that is not mentioned has not been called: its rate is 0, and that is known.
    """

    report: LoadReport
    heard: Heard
    rates: Mapping[ServicePort, SteadyRate] = field(default_factory=dict)

    def told(self, service_port: ServicePort) -> Counted:
        """Return what planners are told of the rate to a service port."""
        rate = self.rates.get(service_port)
        return Counted(0.0, self.report.covered_s) if rate is None else rate.told


Requests = Mapping[ContainerName, ClientRequests]


def read_load_reports(
    known: Requests, reports: Iterable[LoadReport], *, clients: Iterable[ContainerName], tick_s: float
) -> tuple[Requests, Mapping[Place, int]]:
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
    issued: Counter[Place] = Counter()
    for report in reports:
        if report.client not in wanted:
            continue
        before = requests.get(report.client)
        if before is not None and report.time_s <= before.report.time_s:
            continue
        requests[report.client] = _advanced(before, report, issued, tick_s=tick_s)
    return requests, issued


def _advanced(
    before: ClientRequests | None, report: LoadReport, issued: Counter[Place], *, tick_s: float
) -> ClientRequests:
    now = heard(before.heard if before else None, report.time_s, tick_s=tick_s)
    rates = dict(before.rates) if before else {}
    earlier = before.report if before is not None and before.report.covered_s <= report.covered_s else None
    seconds = report.covered_s - (earlier.covered_s if earlier else 0.0)
    if seconds <= 0.0:
        return ClientRequests(report, now, rates)
    increases = _increases(earlier, report)
    issued.update({place: increase for place, increase in increases.items() if increase > 0})
    by_port: dict[ServicePort, float] = dict.fromkeys(rates, 0.0)
    for (service_port, _), increase in increases.items():
        by_port[service_port] = by_port.get(service_port, 0.0) + increase
    for service_port, events in by_port.items():
        known = rates.get(service_port)
        if known is None and earlier is not None and earlier.covered_s > 0.0:
            silence = Counted(0.0, earlier.covered_s)
            known = SteadyRate(silence, silence)
        rates[service_port] = observe(known, Counted(events, seconds))
    return ClientRequests(report, now, rates)


def _increases(earlier: LoadReport | None, report: LoadReport) -> dict[Place, int]:
    """Return by how much each count grew; one that fell was given up in between and counts from zero."""
    then = _totals(earlier) if earlier is not None else Counter()
    return {
        place: issued - then[place] if issued >= then[place] else issued for place, issued in _totals(report).items()
    }


def _totals(report: LoadReport) -> Counter[Place]:
    """Return what was issued to each endpoint, all clusters that lead there together."""
    totals: Counter[Place] = Counter()
    for load in report.endpoints:
        if load.service_port is not None:
            totals[load.service_port, load.address] += load.issued
    return totals
