"""Which sidecar subscribes to which services, told from replica to replica as what has changed. Pure.

Most sidecars subscribe to the same services, so these are told once for all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from askew.replication import replicas_pb2 as pb
from mesh.topology import ContainerName, ServiceName

Asked = Mapping[ContainerName, frozenset[ServiceName]]


class AskedWriter:
    """Remembers what it told last on one stream, and tells what is new."""

    def __init__(self) -> None:
        self._told: Asked = {}

    def changes(self, now: Asked) -> pb.Asked:
        """Return what differs from the last time; all of it the first time. O(sidecars)."""
        before, self._told = self._told, now
        groups: defaultdict[frozenset[ServiceName], list[ContainerName]] = defaultdict(list)
        for name, services in now.items():
            known = before.get(name)
            if known is not services and known != services:
                groups[services].append(name)
        groups[frozenset()] += before.keys() - now.keys()
        told = sorted((sorted(services), sorted(names)) for services, names in groups.items() if names)
        return pb.Asked(groups=[pb.Asked.Group(services=services, sidecars=names) for services, names in told])


class AskedReader:
    """Puts together what an ``AskedWriter`` tells."""

    def __init__(self) -> None:
        self._known: dict[ContainerName, frozenset[ServiceName]] = {}

    def take(self, message: pb.Asked) -> Asked:
        """Return who subscribes to what after these changes. O(sidecars)."""
        known = dict(self._known)
        for group in message.groups:
            services = frozenset(map(ServiceName, group.services))
            for name in map(ContainerName, group.sidecars):
                if services:
                    known[name] = services
                else:
                    known.pop(name, None)
        self._known = known
        return known


def all_asked(parts: Iterable[Asked]) -> Asked:
    """Return the parts as one: a sidecar that changes its replica is for a while in two of them. O(sidecars)."""
    found: dict[ContainerName, frozenset[ServiceName]] = {}
    for part in parts:
        for name, services in part.items():
            known = found.get(name)
            found[name] = services if known is None or known is services else known | services
    return found


def services_of(asked: Asked) -> frozenset[ServiceName]:
    """Return all services that are subscribed to. O(sidecars)."""
    return frozenset[ServiceName]().union(*set(asked.values()))
