"""Links worked out from what whole pods received and sent, where nobody tells of a link itself: the last choice.

cAdvisor counts all that a pod exchanges: every port, whoever it is with, heads and probes included. So a link of it is
the way of OptTraffic (``link_traffic.py``) with more doubt: it is told only where the counters of both ends agree on
it well enough, or where the mesh itself says that there are no other calls. What is told better stays as it is given.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from estimators.ages import heard
from estimators.counters import LONGEST_GAP_INTERVALS, Increase, read_increases
from estimators.link_traffic import estimate_links
from estimators.live_links import Ends, totals_of
from estimators.sidecar_counters import Sidecars
from estimators.told_links import ONE_SIDED
from estimators.window_totals import WindowTotals, mean_rates
from mesh.counter_sample import CounterSample
from mesh.picture import Link
from mesh.topology import Call, ContainerName, ServiceName, Topology

LEAST_CONFIDENCE = 0.5
"""Below it a link is expected to be wrong by more than all of it, and is not told."""

TOLD_BETTER = frozenset({"measured", "prometheus"})


@dataclass(frozen=True)
class OpenLinks:
    """What is asked for.

    Attributes
    ----------
    calls:
        Who calls whom around the services that are planned for, and around those that talk to them.
    containers:
        Of all these, those whose bytes no sidecar tells and whose network is their own.
    rates:
        ``(from, to)`` → bytes per second of the links that are told better.
    """

    calls: tuple[Ends, ...]
    containers: frozenset[ContainerName]
    rates: Mapping[Ends, float]


@dataclass(frozen=True)
class PodLinks:
    """The links that pods' counters settle, and why others are not among them."""

    links: tuple[Link, ...] = ()
    left_out: tuple[str, ...] = ()


def open_links(
    topology: Topology, learnt: Iterable[Call], sidecars: Sidecars, known: Iterable[Link]
) -> OpenLinks | None:
    """Return what pods' counters could tell; None where all is told better, or no service is planned for.

    Cost: O(containers + calls + links).

    Parameters
    ----------
    learnt:
        Who was seen to call whom; counts where the mesh does not say it.
    sidecars:
        Those whose bytes are known.
    known:
        All links that are told; those that were worked out do not count.
    """
    containers = topology.container_by_name
    peopled = {container.service for container in containers.values()}
    rates = {(one.source, one.target): one.rate_bytes_per_s for one in known if one.method in TOLD_BETTER}
    said = ((call.client, call.server) for call in (learnt if topology.calls is None else topology.calls))
    pairs = [ends for ends in dict.fromkeys((*said, *rates)) if ends[0] != ends[1] and peopled.issuperset(ends)]
    scope = _joined(pairs, {service.name for service in topology.services if service.policy.planned})
    calls = tuple(ends for ends in pairs if ends[0] in scope)
    if all(ends in rates for ends in calls):
        return None
    wanted = frozenset(
        name
        for name, one in containers.items()
        if one.service in scope and name not in sidecars and not one.on_host_network
    )
    return OpenLinks(calls, wanted, rates)


def pod_links(
    topology: Topology, wanted: OpenLinks, sidecars: Sidecars, samples: Iterable[CounterSample], *, now_s: float
) -> PodLinks:
    """Return the links of ``wanted`` that the samples of its containers settle.

    A service counts if every one of its containers is counted, by its sidecar or by two samples; the others' bytes are
    unknown. Where both ends of a link count, they confirm each other: what its part of the graph disagrees by lowers
    the confidence. Where one end counts, the confidence is at most ``ONE_SIDED``, and nothing is told if calls are
    learnt, since there may be others.

    Cost: O(samples + containers + calls), and the core of ``estimate_links``.

    Examples
    --------
    >>> from mesh.mesh_file import parse_mesh_file
    >>> mesh = parse_mesh_file('''
    ... apiVersion: askew.mesh/v1
    ... nodes: [{name: n1}]
    ... services:
    ...   - {name: web, containers: [{name: w, node: n1, address: 127.0.0.2}]}
    ...   - name: db
    ...     port: 80
    ...     annotations: {askew.mesh/routing: local-first}
    ...     containers: [{name: d, node: n1, address: 127.0.0.3}]
    ... calls: [{from: web, to: db}]
    ... ''')
    >>> counts = [CounterSample("w", 0.0, 0, 0), CounterSample("w", 10.0, 900, 100),
    ...           CounterSample("d", 1.0, 0, 0), CounterSample("d", 11.0, 100, 900)]
    >>> for link in pod_links(mesh, open_links(mesh, (), {}, ()), {}, counts, now_s=20.0).links:
    ...     print(link.source, link.target, link.rate_bytes_per_s, link.method, link.confidence, link.age_s(20.0))
    web.default db.default 10.0 cadvisor 1.0 10.0
    db.default web.default 90.0 cadvisor 1.0 10.0
    """
    totals, times = _rates_of(samples, now_s=now_s)
    scope = {end for ends in wanted.calls for end in ends}
    members: defaultdict[str, list[ContainerName]] = defaultdict(list)
    for name, container in topology.container_by_name.items():
        if container.service in scope:
            members[container.service].append(name)
    told = {name: one for name, one in sidecars.items() if name in topology.container_by_name}
    times |= {name: one.heard.time_s for name, one in told.items()}
    oldest_s = {
        service: min(times[name] for name in names)
        for service, names in members.items()
        if all(name in times for name in names)
    }
    counts = [name for service in oldest_s for name in members[service]]
    estimate = estimate_links(
        {name: service for service, names in members.items() for name in names},
        wanted.calls,
        _of(counts, totals, totals_of(told)),
        measured={ends: rate for ends, rate in wanted.rates.items() if scope.issuperset(ends)},
    )
    links: list[Link] = []
    left_out = {} if len(oldest_s) == len(scope) else {"services with pods that nobody counted": None}
    for link in estimate.links:
        if (link.source, link.target) in wanted.rates:
            continue
        ends_s = [oldest_s[end] for end in (link.source, link.target) if end in oldest_s]
        confidence = link.confidence if len(ends_s) == 2 else min(ONE_SIDED, link.confidence)
        if not ends_s or (len(ends_s) == 1 and topology.calls is None):
            left_out["links that nobody confirms"] = None
        elif confidence < LEAST_CONFIDENCE:
            left_out["links that counters do not settle"] = None
        else:
            rate, residual = link.rate_bytes_per_s, link.residual
            links.append(Link(link.source, link.target, rate, "cadvisor", confidence, residual, min(ends_s)))
    return PodLinks(tuple(links), tuple(left_out))


def _joined(pairs: Iterable[Ends], starts: Iterable[ServiceName]) -> set[str]:
    """Return the services that can be reached from ``starts``, in either direction; not those that nobody talks to."""
    beside: defaultdict[str, list[str]] = defaultdict(list)
    for one, other in pairs:
        beside[one].append(other)
        beside[other].append(one)
    open_ends: list[str] = [name for name in starts if name in beside]
    found = set(open_ends)
    while open_ends:
        new = set(beside[open_ends.pop()]) - found
        found |= new
        open_ends += new
    return found


def _rates_of(samples: Iterable[CounterSample], *, now_s: float) -> tuple[WindowTotals, dict[ContainerName, float]]:
    """Return each container's bytes per second over its own samples, and when the last was taken.

    Its interval is the usual one between its samples. Over a gap of more than 3 there is no rate; a container that has
    been silent for 12 has none at all, nor one with less than two samples.
    """
    found = read_increases(samples, interval_s=float("inf"))
    by_container: defaultdict[str, list[Increase]] = defaultdict(list)
    for one in found.increases:
        by_container[one.container].append(one)
    good: list[Increase] = []
    times: dict[ContainerName, float] = {}
    for increases in by_container.values():
        usual_s = sorted(one.end_s - one.start_s for one in increases)[(len(increases) - 1) // 2]
        last = found.last[increases[0].container]
        if heard(None, last.time_s, tick_s=usual_s).is_usable(now_s):
            times[last.container] = last.time_s
            good += [one for one in increases if one.end_s - one.start_s <= LONGEST_GAP_INTERVALS * usual_s]
    return mean_rates(good), times


def _of(names: Sequence[ContainerName], pods: WindowTotals, sidecars: WindowTotals) -> WindowTotals:
    """Return the totals of these containers: by their sidecars, or else by their pods."""
    received = {**pods.receive_bytes, **sidecars.receive_bytes}
    sent = {**pods.transmit_bytes, **sidecars.transmit_bytes}
    return WindowTotals(1.0, {name: received[name] for name in names}, {name: sent[name] for name in names})
