"""What each sidecar has counted: requests and bytes to every service that it called, and to its own app, as rates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from estimators.ages import FRESH_INTERVALS, Heard, heard
from estimators.counters import increase_of
from estimators.steady_rate import Counted, SteadyRate, observe
from mesh.telemetry import ClusterCounters
from mesh.topology import ContainerName, ServicePort

SENT, RECEIVED = 0, 1  # among the amounts of a count
Way = ServicePort | int
"""Where a cluster leads: a service port, or (a number) a port of the sidecar's own app."""


@dataclass(frozen=True)
class SidecarCounts:
    """What is known of one sidecar.

    Attributes
    ----------
    clusters:
        Its counters as of its last flush. Envoy tells only of statistics that were ever touched: a cluster that is not
        there has carried nothing.
    rates:
        Requests to each way it used; the amounts are bytes sent there and received from there.
    """

    heard: Heard
    clusters: Mapping[str, ClusterCounters] = field(default_factory=dict)
    rates: Mapping[Way, SteadyRate] = field(default_factory=dict)

    def per_s(self, way: Way) -> Counted:
        """Return the count of a way as it is now; empty where it carried nothing yet."""
        rate = self.rates.get(way)
        if rate is None:
            return Counted(0.0, 1.0, (0.0, 0.0))
        return rate.told if rate.in_change else rate.window


Sidecars = Mapping[ContainerName, SidecarCounts]


@dataclass(frozen=True, slots=True)
class Served:
    """Requests that reached the app behind one container's sidecar, and the seconds in which they did."""

    requests: float
    seconds: float


def read_sidecar_counters(
    known: Sidecars, counters: Iterable[ClusterCounters], *, containers: Iterable[ContainerName], tick_s: float
) -> tuple[Sidecars, Mapping[tuple[ContainerName, int], Served]]:
    """Return what is known of the ``containers``' sidecars after these samples, and what their apps were asked since.

    Counters are cumulative since the sidecar started; a value below the last one is a restart and counts from zero. The
    first flush of a sidecar is where counting begins; a cluster that appears later counts from zero. After a gap of
    more than 3 intervals counting begins anew, since a restart within would not show.

    Returns
    -------
    tuple
        O(samples). The second part holds the increases of this call only.
    """
    wanted = frozenset(containers)
    flushes: dict[ContainerName, dict[str, ClusterCounters]] = {}
    for sample in counters:
        if sample.container in wanted:
            flushes.setdefault(sample.container, {})[sample.cluster] = sample
    sidecars = {name: one for name, one in known.items() if name in wanted}
    served: dict[tuple[ContainerName, int], Served] = {}
    for name, clusters in flushes.items():
        time_s = max(sample.time_s for sample in clusters.values())
        before = sidecars.get(name)
        if before is None:
            sidecars[name] = SidecarCounts(heard(None, time_s, tick_s=tick_s), clusters)
        elif time_s > before.heard.time_s:
            now = heard(before.heard, time_s, tick_s=tick_s)
            is_gap = time_s - before.heard.time_s > FRESH_INTERVALS * before.heard.interval_s
            increases = {} if is_gap else _increases(before, clusters, seconds=time_s - before.heard.time_s)
            sidecars[name] = SidecarCounts(now, clusters, _observed(before, increases))
            served |= {
                (name, way): Served(count.events, count.seconds)
                for way, count in increases.items()
                if isinstance(way, int)
            }
    return sidecars, served


def _increases(before: SidecarCounts, clusters: Mapping[str, ClusterCounters], *, seconds: float) -> dict[Way, Counted]:
    """Return what each way carried between two flushes, all clusters that lead there together."""
    increases = dict.fromkeys(before.rates, Counted(0.0, seconds, (0.0, 0.0)))
    for name, sample in clusters.items():
        way = _way(sample)
        last = before.clusters.get(name)
        if way is None or (last is sample and way in increases):
            continue
        requests, sent, received = _grown(last, sample)
        so_far = increases.get(way)
        if so_far is not None:
            requests += so_far.events
            sent += so_far.amounts[SENT]
            received += so_far.amounts[RECEIVED]
        increases[way] = Counted(requests, seconds, (sent, received))
    return increases


def _observed(before: SidecarCounts, increases: Mapping[Way, Counted]) -> Mapping[Way, SteadyRate]:
    rates = dict(before.rates)
    new = increases.keys() - rates.keys()
    used = {_way(sample) for sample in before.clusters.values()} if new else set()
    for way, count in increases.items():
        known = rates.get(way)
        if known is None and way not in used:
            silence = Counted(0.0, count.seconds, (0.0, 0.0))
            known = SteadyRate(silence, silence)
        rates[way] = observe(known, count)
    return rates


def _way(sample: ClusterCounters) -> Way | None:
    return sample.service_port if sample.reporter == "client" else sample.app_port


def _grown(last: ClusterCounters | None, now: ClusterCounters) -> tuple[float, float, float]:
    """Return by how much requests and bytes each way grew; what was not told grew by nothing that is known."""
    if last is None:
        return float(now.requests or 0), float(now.sent_bytes or 0), float(now.received_bytes or 0)
    return (
        _increase(last.requests, now.requests),
        _increase(last.sent_bytes, now.sent_bytes),
        _increase(last.received_bytes, now.received_bytes),
    )


def _increase(before: int | None, now: int | None) -> float:
    return 0.0 if now is None else float(increase_of(before or 0, now))
