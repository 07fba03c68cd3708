"""Which configuration each service port is served from: the present one, or the last that proxies accepted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mesh.plan import Plan
from mesh.topology import ServicePort, Topology
from xds_server.last_good import NackTally
from xds_server.resources.client_config import ClientConfigs


class LastGood:
    """Remembers, for each service port, the last configuration without a refusal; pins those that were condemned.

    A pin ends when the service changes again: its plan, its containers or its policy.
    """

    def __init__(self) -> None:
        self.pinned: dict[ServicePort, ClientConfigs] = {}
        self.changed: frozenset[str] = frozenset()
        self._good: dict[ServicePort, ClientConfigs] = {}

    def before_change(self, before: ClientConfigs, topology: Topology, plan: Plan, tally: NackTally) -> None:
        """Take note of what is about to change from ``before`` to ``topology`` and ``plan``."""
        changed = list(_changed_ports(before, topology, plan))
        for service_port in changed:
            if service_port in self.pinned:
                del self.pinned[service_port]
            elif tally.is_clean(str(service_port)) and service_port.service in before.topology.service_by_name:
                self._good[service_port] = before
        self.changed = frozenset(map(str, changed))

    def go_back(self, condemned: Iterable[str]) -> list[ServicePort]:
        """Pin the condemned service ports that have something to go back to; return them."""
        wanted = set(condemned)
        found = [service_port for service_port in self._good if str(service_port) in wanted]
        for service_port in found:
            self.pinned[service_port] = self._good[service_port]
        return found


def _changed_ports(before: ClientConfigs, topology: Topology, plan: Plan) -> Iterator[ServicePort]:
    for service in topology.services:
        same_service = before.topology.service_by_name.get(service.name) == service
        for port in service.ports:
            service_port = service.service_port(port)
            if not same_service or before.plan.services.get(service_port) is not plan.services.get(service_port):
                yield service_port
