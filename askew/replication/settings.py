"""Settings of what replicas say to each other."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from mesh.errors import BadInputError


@dataclass(frozen=True, slots=True)
class ReplicationSettings:
    """Several replicas that act as one. The port takes host and certificates from the section ``xds``."""

    port: int = 18001
    """TCP port; 0 takes a free one."""

    name: str = ""
    """This replica's name, unique among them (its pod's); empty: the host's."""

    address: str = ""
    """Where the others reach it (its pod's IP address); empty: ``xds.host``."""

    peers: str = "spiffe://cluster.local/ns/askew-system/sa/askew,askew-xds.askew-system.svc"
    """Names, comma-separated, of which a replica's certificate must have one."""

    lease: str = "askew-leader"
    """The Lease of the leader, in ``watchdog.namespace``."""

    lease_s: int = 15
    """Others wait this long after the leader's last sign of life."""

    renew_deadline_s: float = 10.0
    """A leader that could not renew for this long leads no more."""

    retry_s: float = 2.0
    """Between two renewals, and between two looks at another's lease."""

    @property
    def peer_names(self) -> frozenset[str]:
        return frozenset(name.strip() for name in self.peers.split(",") if name.strip())


def check(settings: ReplicationSettings) -> None:
    """Raise BadInputError, one line, for values that no election could work with."""
    if not 0 < settings.retry_s < settings.renew_deadline_s < settings.lease_s:
        found = f"{settings.retry_s:g}, {settings.renew_deadline_s:g}, {settings.lease_s}"
        raise BadInputError(
            "replication.retry_s, renew_deadline_s, lease_s", found, "0 < retry_s < renew_deadline_s < lease_s"
        )
    if settings.address:
        try:
            ipaddress.ip_address(settings.address)
        except ValueError as error:
            raise BadInputError("replication.address", settings.address, "an IP address") from error
    if "/" in settings.name or not settings.name.isprintable():
        raise BadInputError("replication.name", settings.name, "a pod's name")
