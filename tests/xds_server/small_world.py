"""Resources of a few bytes, and the two sides of one subscription, for the tests of the protocol's state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xds_server.resources.names import CDS, EDS, LDS, RDS
from xds_server.snapshot import Resource, Snapshot, resource, snapshot
from xds_server.subscription import Request, Response, Subscription


def cds(name: str, content: str = "1", *, endpoints: str | None = None) -> Resource:
    """Return a cluster that needs the endpoints of its own name, or of ``endpoints``; "" for none."""
    needed = name if endpoints is None else endpoints
    return resource(CDS, name, f"{name}={content}".encode(), refers=((EDS, needed),) if needed else ())


def eds(name: str, content: str = "1") -> Resource:
    """Return the endpoints of a cluster."""
    return resource(EDS, name, f"{name}={content}".encode())


def rds(name: str, *clusters: str, content: str = "1") -> Resource:
    """Return a route configuration that leads to ``clusters``."""
    body = f"{name}={content}:{','.join(clusters)}".encode()
    return resource(RDS, name, body, refers=[(CDS, cluster) for cluster in clusters])


def lds(name: str, *, routes: str = "", clusters: Iterable[str] = (), content: str = "1") -> Resource:
    """Return a listener that needs a route configuration or clusters."""
    refers = [(CDS, cluster) for cluster in clusters] + ([(RDS, routes)] if routes else [])
    return resource(LDS, name, f"{name}={content}:{refers}".encode(), refers=refers)


def world(*resources: Resource) -> Snapshot:
    """Return a snapshot of these."""
    return snapshot(resources)


def by_name(*resources: Resource) -> dict[str, Resource]:
    """Return resources of one type as a snapshot holds them."""
    return {one.name: one for one in resources}


def answer(subscription: Subscription, resources: Mapping[str, Resource]) -> Response | None:
    """Return what the server would send now, None for nothing: a response stands in the way of the next."""
    if subscription.pending is not None:
        return None
    changes = subscription.changes(resources)
    if not changes and not subscription.owes_first_answer:
        return None
    return subscription.begin(changes)


def names(response: Response | None) -> list[str]:
    """Return the names that a response carries; of no response, none."""
    return [one.name for one in response.resources] if response else []


class Sotw:
    """The client's side of a state-of-the-world subscription."""

    def __init__(self, type_url: str, *wanted: str, version: str = "", nonce: str = "") -> None:
        self.server = Subscription(type_url, "sotw")
        self.wanted, self.version = wanted, version
        self.server.receive(Request(subscribe=wanted, version=version, nonce=nonce))

    def ask(self, *wanted: str, nonce: str | None = None) -> str:
        """Ask for other names; ``nonce`` is the last one unless given."""
        self.wanted = wanted
        used = self.server.last_nonce if nonce is None else nonce
        return self.server.receive(Request(subscribe=wanted, version=self.version, nonce=used))

    def ack(self, response: Response | None) -> str:
        assert response is not None
        self.version = response.version
        return self.server.receive(Request(subscribe=self.wanted, version=self.version, nonce=response.nonce))

    def nack(self, response: Response | None, error: str = "no") -> str:
        assert response is not None
        request = Request(subscribe=self.wanted, version=self.version, nonce=response.nonce, error=error)
        return self.server.receive(request)


class Delta:
    """The client's side of an incremental subscription."""

    def __init__(self, type_url: str, *wanted: str, has: Mapping[str, str] | None = None) -> None:
        self.server = Subscription(type_url, "delta")
        self.server.receive(Request(subscribe=wanted, initial_versions=has or {}))

    def ask(self, *more: str, less: tuple[str, ...] = (), nonce: str = "") -> str:
        """Subscribe to ``more``, unsubscribe from ``less``; spontaneous unless ``nonce`` is given."""
        return self.server.receive(Request(subscribe=more, unsubscribe=less, nonce=nonce))

    def ack(self, response: Response | None) -> str:
        assert response is not None
        return self.server.receive(Request(nonce=response.nonce))

    def nack(self, response: Response | None, error: str = "no") -> str:
        assert response is not None
        return self.server.receive(Request(nonce=response.nonce, error=error))
