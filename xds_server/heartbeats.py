"""Resources with a TTL are said again before it runs out. Pure: time comes in as an argument.

A heartbeat carries name, version and TTL but no body. Source: xDS protocol, "TTL".
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from xds_server.snapshot import Resource

PART_OF_TTL = 0.5  # said again when half of the TTL has passed, so that one lost or late heartbeat does no harm


class Heartbeats:
    """When each resource with a TTL on one stream is to be said again. Falsy while there is none."""

    def __init__(self) -> None:
        self._due_s: dict[tuple[str, str], float] = {}

    def __bool__(self) -> bool:
        return bool(self._due_s)

    def sent(self, type_url: str, resources: Iterable[Resource], *, now_s: float) -> None:
        """Note that these went out, with or without a body."""
        for one in resources:
            if one.ttl_s is not None:
                self._due_s[type_url, one.name] = now_s + PART_OF_TTL * one.ttl_s
            elif self._due_s:
                self._due_s.pop((type_url, one.name), None)

    def due(
        self, type_url: str, resources: Mapping[str, Resource], known: Mapping[str, str], *, now_s: float
    ) -> list[Resource]:
        """Return what of one type is to be said again now; what the client has no more is forgotten."""
        found = []
        for key in [key for key, due_s in self._due_s.items() if key[0] == type_url and due_s <= now_s]:
            one = resources.get(key[1])
            if one is None or one.ttl_s is None or key[1] not in known:
                del self._due_s[key]
            elif known[key[1]] == one.version:
                found.append(one)
            else:  # refused, or on its way in a newer version
                self._due_s[key] = now_s + PART_OF_TTL * one.ttl_s
        return found

    def next_s(self, *, waiting: Container[str]) -> float | None:
        """Return when the next heartbeat of a type that is not ``waiting`` for an ACK is due, or None."""
        return min((due_s for (type_url, _), due_s in self._due_s.items() if type_url not in waiting), default=None)
