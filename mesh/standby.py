"""Tiers and standbys: where an endpoint stands as seen from a client, and who takes over when a tier is dead."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Literal

from mesh.topology import Container, Distance, Topology

Tier = Literal["local", "zone", "remote"]
TIERS: tuple[Tier, ...] = ("local", "zone", "remote")
STANDBYS = 3
ALL_BELOW = 10  # a service of this many endpoints or fewer has all of its others as standbys


def tier_of(distance: Distance) -> Tier:
    """Return the tier of an endpoint at that distance.

    >>> tier_of(Distance.REGION)
    'remote'
    """
    if distance is Distance.NODE:
        return "local"
    return "zone" if distance is Distance.ZONE else "remote"


def standbys(
    topology: Topology, client: Container, endpoints: Sequence[Container], *, used: Iterable[Container]
) -> tuple[Container, ...]:
    """Return the endpoints that take over for ``client`` when all of ``used`` are down, nearest first.

    They are not in ``used``, not on the client's node, from two nodes or more where there are two, and chosen by
    rendezvous hash, so that clients spread and a change of membership moves few of them. All of them where the service
    has at most ``ALL_BELOW`` endpoints, else ``STANDBYS``. Cost O(M log M) for M endpoints.
    """
    taken = {container.name for container in used}
    free = [e for e in endpoints if e.name not in taken and e.node != client.node]
    free.sort(key=lambda e: (topology.distance(client.node, e.node), _rendezvous(client, e)))
    if len(endpoints) <= ALL_BELOW or len(free) <= STANDBYS:
        return tuple(free)
    chosen = free[:STANDBYS]
    if len({e.node for e in chosen}) == 1:
        elsewhere = next((e for e in free[STANDBYS:] if e.node != chosen[0].node), None)
        if elsewhere is not None:
            chosen[-1] = elsewhere
    return tuple(chosen)


def _rendezvous(client: Container, endpoint: Container) -> bytes:
    return hashlib.blake2b(f"{client.name}\0{endpoint.name}".encode(), digest_size=8).digest()
