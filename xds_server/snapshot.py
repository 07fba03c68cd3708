"""Resources and snapshots: what one proxy should have, as frozen values with content-hashed versions. Pure.

What is made on every push is a NamedTuple: a frozen dataclass takes three times as long to make.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from types import MappingProxyType
from typing import NamedTuple

from xds_server.resources.names import CDS, EDS, LDS, RDS

Ref = tuple[str, str]
NOTHING: Mapping[str, Resource] = MappingProxyType({})
# Make before break: what is added goes forward through this order, what is removed backwards (xDS protocol,
# "Eventual consistency considerations").
ORDER: tuple[str, ...] = (CDS, EDS, LDS, RDS)
# Types in which a client asks for all by asking for none (xDS protocol, "How the client specifies what resources to
# return").
WILDCARD_TYPES = frozenset((CDS, LDS))


class Load(NamedTuple):
    """What an assignment's weights come to, so that they can be judged without parsing its bytes again."""

    endpoints: int
    lightest: int
    heaviest: int
    total: int


class Resource(NamedTuple):
    """One xDS resource, serialised once.

    Attributes
    ----------
    body:
        The message's bytes, deterministic.
    version:
        Hash of ``body`` and ``ttl_s``: equal on every replica and after every restart.
    refers:
        The resources that this one needs, as (type URL, name): a cluster's endpoints, a listener's routes or cluster, a
        route configuration's clusters.
    ttl_s:
        Seconds after which the client drops it unless it hears of it again, or None.
    may_be_empty:
        Whether the source itself says that there is no endpoint; only then may an assignment hold none.
    load:
        An assignment's weights in short, where its builder knows them; None: whoever asks must parse ``body``.
    """

    type_url: str
    name: str
    body: bytes
    version: str
    refers: tuple[Ref, ...] = ()
    ttl_s: float | None = None
    may_be_empty: bool = False
    load: Load | None = None


def resource(
    type_url: str,
    name: str,
    body: bytes,
    *,
    refers: Iterable[Ref] = (),
    ttl_s: float | None = None,
    may_be_empty: bool = False,
    load: Load | None = None,
) -> Resource:
    """Return a resource with the version that its content asks for."""
    digest = blake2b(body, digest_size=8)
    if ttl_s is not None:
        digest.update(f"ttl {ttl_s}".encode())
    version = digest.hexdigest()
    return Resource(type_url, name, body, version, tuple(refers), ttl_s, may_be_empty, load)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that one proxy should have: type URL to name to resource."""

    resources: Mapping[str, Mapping[str, Resource]] = field(default_factory=dict)

    def of(self, type_url: str) -> Mapping[str, Resource]:
        return self.resources.get(type_url, NOTHING)

    def all(self) -> Iterable[Resource]:
        for by_name in self.resources.values():
            yield from by_name.values()


def snapshot(resources: Iterable[Resource]) -> Snapshot:
    """Return a snapshot of these resources. The later of two with one type and name wins."""
    by_type: dict[str, dict[str, Resource]] = {type_url: {} for type_url in ORDER}
    for one in resources:
        by_type.setdefault(one.type_url, {})[one.name] = one
    return Snapshot(by_type)


def type_version(resources: Iterable[Resource]) -> str:
    """Return one version for a set of resources: what state-of-the-world calls ``version_info``."""
    digest = blake2b(digest_size=8)
    for name, version in sorted((one.name, one.version) for one in resources):
        digest.update(f"{name}\0{version}\0".encode())
    return digest.hexdigest()
