"""Links worked out from what whole pods received and sent, where nobody tells of a link itself: the last choice.

cAdvisor counts all that a pod exchanges: every port, whoever it is with, heads and probes included. So a link of it is
the way of OptTraffic (``link_traffic.py``) with more doubt. Who is called by nobody that is known is asked from
elsewhere: its counters hold that too and are no more than a bound. No link may be larger than what either end counted;
none is surer than a half, since nothing tells the traffic of a link from that which leaves the graph. What is told
better stays as it is given.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from estimators.link_traffic import estimate_links
from estimators.live_links import Ends, totals_of
from estimators.sidecar_counters import Sidecars
from estimators.told_links import ONE_SIDED
from estimators.window_totals import WindowTotals
from mesh.picture import Link
from mesh.telemetry import PodBytes
from mesh.topology import Call, ContainerName, ServiceName, Topology

LEAST_CONFIDENCE = 0.5
"""What the counters' agreement must at least be worth; below it a link's expected error is the link itself."""

SAME_BYTES = 1.1
"""By which factor two ends may count the same bytes otherwise: their scrapes cover other seconds."""

TOLD_BETTER = frozenset({"measured", "prometheus", "agent"})


@dataclass(frozen=True)
class OpenLinks:
    """What is asked for.

    Attributes
    ----------
    calls:
        Who calls whom around the services that are planned for, and around those that talk to them.
    containers:
        Of all these, those whose bytes no sidecar tells and whose network is their own.
    entries:
        The services among them that nobody is known to call.
    rates:
        ``(from, to)`` → bytes per second of the links that are told better.
    """

    calls: tuple[Ends, ...]
    containers: frozenset[ContainerName]
    entries: frozenset[str]
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
    said = [(call.client, call.server) for call in (learnt if topology.calls is None else topology.calls)]
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
    called = {server for client, server in said if client != server and client in peopled}
    return OpenLinks(calls, wanted, frozenset(scope - called), rates)


def pod_links(topology: Topology, wanted: OpenLinks, sidecars: Sidecars, pods: Iterable[PodBytes]) -> PodLinks:
    """Return the links of ``wanted`` that the rates of its containers' pods settle.

    A service counts if every one of its containers is counted, by its sidecar or by its pod; the others' bytes are
    unknown. One end must count, both where calls are learnt, since there may be others. The confidence is that of
    ``estimate_links``, times ``ONE_SIDED``.

    Cost: O(containers + calls), and the core of ``estimate_links``.

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
    >>> pods = [PodBytes("w", 10.0, 95.0, 300.0), PodBytes("d", 11.0, 10.0, 90.0)]
    >>> for link in pod_links(mesh, open_links(mesh, (), {}, ()), {}, pods).links:
    ...     print(link.source, link.target, link.rate_bytes_per_s, link.method, link.confidence, link.age_s(20.0))
    web.default db.default 10.0 cadvisor 0.5 10.0
    db.default web.default 90.0 cadvisor 0.5 10.0
    """
    counts = _counts(topology, wanted, sidecars, pods)
    estimate = estimate_links(
        {name: service for service, names in counts.members.items() for name in names},
        wanted.calls,
        counts.usable(wanted.entries),
        measured={ends: rate for ends, rate in wanted.rates.items() if counts.members.keys() >= set(ends)},
    )
    links: list[Link] = []
    left_out = {} if len(counts.oldest_s) == len(counts.members) else {"services with pods that nobody counted": None}
    for link in estimate.links:
        if (link.source, link.target) in wanted.rates:
            continue
        times_s = [counts.oldest_s[end] for end in (link.source, link.target) if end in counts.oldest_s]
        if len(times_s) < (2 if topology.calls is None else 1):
            left_out["links that nobody confirms"] = None
        elif link.confidence < LEAST_CONFIDENCE or link.rate_bytes_per_s > SAME_BYTES * counts.most(link):
            left_out["links that counters do not settle"] = None
        else:
            confidence = ONE_SIDED * link.confidence
            links.append(replace(link, method="cadvisor", confidence=confidence, time_s=min(times_s)))
    return PodLinks(tuple(links), tuple(left_out))


@dataclass(frozen=True)
class _Counts:
    """Who belongs to which service, what each received and sent a second, and whom a sidecar told of.

    ``oldest_s`` is the time of the oldest last sample of each service of which every container is counted.
    """

    members: Mapping[str, Sequence[ContainerName]]
    received: Mapping[str, float]
    sent: Mapping[str, float]
    by_sidecar: frozenset[str]
    oldest_s: Mapping[str, float]

    def usable(self, entries: frozenset[str]) -> WindowTotals:
        """Return the totals of services that count; sidecars tell only what belongs to the mesh, of entries too."""
        names = [
            name
            for service in self.oldest_s
            if service not in entries or self.by_sidecar.issuperset(self.members[service])
            for name in self.members[service]
        ]
        return WindowTotals(1.0, {one: self.received[one] for one in names}, {one: self.sent[one] for one in names})

    def most(self, link: Link) -> float:
        """Return the most that a link can carry: what the ends that count sent and received in all."""
        sums = [
            sum(amounts[name] for name in self.members[end])
            for end, amounts in ((link.source, self.sent), (link.target, self.received))
            if end in self.oldest_s
        ]
        return min(sums, default=math.inf)


def _counts(topology: Topology, wanted: OpenLinks, sidecars: Sidecars, pods: Iterable[PodBytes]) -> _Counts:
    """Put together what sidecars and pods count; a container's sidecar goes before its pod."""
    scope = {end for ends in wanted.calls for end in ends}
    members: defaultdict[str, list[ContainerName]] = defaultdict(list)
    for name, container in topology.container_by_name.items():
        if container.service in scope:
            members[container.service].append(name)
    by_pod, told = {one.container: one for one in pods}, totals_of(sidecars)
    times = {name: one.time_s for name, one in by_pod.items()}
    times |= {name: one.heard.time_s for name, one in sidecars.items()}
    return _Counts(
        members=members,
        received={name: one.received_bytes_per_s for name, one in by_pod.items()} | dict(told.receive_bytes),
        sent={name: one.sent_bytes_per_s for name, one in by_pod.items()} | dict(told.transmit_bytes),
        by_sidecar=frozenset(sidecars),
        oldest_s={
            service: min(times[name] for name in names)
            for service, names in members.items()
            if all(name in times for name in names)
        },
    )


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
