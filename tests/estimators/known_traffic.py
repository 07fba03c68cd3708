"""Traffic matrices that are known to the byte, and the counters that they would leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from estimators.window_totals import WindowTotals, total_window
from mesh.counter_sample import CounterSample

WINDOW_S = 10.0

# DeathStarBench, commit 6ecb0970: the edges as its C++ and Lua code calls them. Mutual: user <-> social-graph.
SOCIAL_NETWORK = {
    "nginx": ("home-timeline", "user-timeline", "compose-post", "social-graph", "user"),
    "compose-post": ("text", "user", "media", "unique-id", "post-storage"),
    "text": ("url-shorten", "user-mention"),
    "post-storage": ("post-storage-memcached", "post-storage-mongodb", "user-timeline"),
    "home-timeline": ("post-storage", "social-graph", "home-timeline-redis"),
    "user-timeline": ("home-timeline", "post-storage", "user-timeline-redis", "user-timeline-mongodb"),
    "social-graph": ("user", "social-graph-redis", "social-graph-mongodb"),
    "user": ("social-graph", "user-memcached", "user-mongodb"),
    "user-mention": ("user-memcached", "user-mongodb"),
    "url-shorten": ("url-shorten-memcached", "url-shorten-mongodb"),
    "media-frontend": ("media-memcached", "media-mongodb"),
}
MEDIA_MICROSERVICES = {
    "nginx": ("unique-id", "movie-id", "text", "user", "cast-info", "movie-info", "plot"),
    "movie-id": ("compose-review", "rating", "movie-id-memcached", "movie-id-mongodb"),
    "rating": ("compose-review", "rating-redis"),
    "unique-id": ("compose-review",),
    "text": ("compose-review",),
    "user": ("compose-review", "user-memcached", "user-mongodb"),
    "compose-review": ("review-storage", "user-review", "movie-review", "compose-review-memcached"),
    "user-review": ("review-storage", "user-review-redis", "user-review-mongodb"),
    "movie-review": ("review-storage", "movie-review-redis", "movie-review-mongodb"),
    "page": ("movie-info", "movie-review", "cast-info", "plot"),
    "movie-info": ("movie-info-memcached", "movie-info-mongodb"),
    "cast-info": ("cast-info-memcached", "cast-info-mongodb"),
    "plot": ("plot-memcached", "plot-mongodb"),
    "review-storage": ("review-storage-memcached", "review-storage-mongodb"),
}


def calls_of(graph: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Return the calls of an adjacency table."""
    return [(client, server) for client, servers in graph.items() for server in servers]


@dataclass(frozen=True)
class KnownTraffic:
    """Calls, containers, and the bytes of every directed service link in the window."""

    calls: list[tuple[str, str]]
    containers: dict[str, str]
    link_bytes: dict[tuple[str, str], int]

    def samples(self, rng: np.random.Generator, *, noise: float = 0.0) -> list[CounterSample]:
        """Return two counter samples per container; each increase is off by a normal relative error of ``noise``."""
        services: dict[str, list[str]] = {}
        for container, service in self.containers.items():
            services.setdefault(service, []).append(container)
        result = []
        for service, members in services.items():
            columns = []
            for side in (0, 1):
                total = sum(amount for ends, amount in self.link_bytes.items() if ends[side] == service)
                cuts = np.sort(rng.integers(0, total + 1, len(members) - 1))
                parts = np.diff(np.concatenate([[0], cuts, [total]]))
                columns.append(
                    [round(max(0.0, part * (1 + noise * rng.normal()))) if noise else int(part) for part in parts]
                )
            for container, sent, received in zip(members, *columns, strict=True):
                base = int(rng.integers(0, 10**9))
                result.append(CounterSample(container, 100.0, base, base))
                result.append(CounterSample(container, 100.0 + WINDOW_S, base + received, base + sent))
        return result

    def totals(self, rng: np.random.Generator, *, noise: float = 0.0) -> WindowTotals:
        """Return the window totals of ``samples``."""
        return total_window(self.samples(rng, noise=noise))

    def measurements(self, services: Sequence[str]) -> dict[tuple[str, str], float]:
        """Return the true bytes per second of every link of these services, both directions."""
        return {
            ends: amount / WINDOW_S
            for ends, amount in self.link_bytes.items()
            if ends[0] in services or ends[1] in services
        }


def known_traffic(
    calls: Sequence[tuple[str, str]], rng: np.random.Generator, *, most_replicas: int = 3, spread: float = 1.5
) -> KnownTraffic:
    """Draw log-normal bytes for both directions of every link, and 1 to ``most_replicas`` containers per service."""
    services = list(dict.fromkeys(service for call in calls for service in call))
    containers = {
        f"{service}-{replica}": service
        for service in services
        for replica in range(int(rng.integers(1, most_replicas + 1)))
    }
    link_bytes = {}
    for client, server in calls:
        if client != server:
            for ends in ((client, server), (server, client)):
                link_bytes.setdefault(ends, int(1e5 * rng.lognormal(0.0, spread)))
    return KnownTraffic(list(calls), containers, link_bytes)


def random_tree(services: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Return the calls of a random recursive tree, each in a random direction."""
    calls = []
    for vertex in range(1, services):
        ends = (f"s{int(rng.integers(0, vertex))}", f"s{vertex}")
        calls.append(ends if rng.random() < 0.5 else ends[::-1])
    return calls


def random_graph(services: int, extra: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Return a random tree with up to ``extra`` further calls."""
    calls = random_tree(services, rng)
    for _ in range(extra):
        one, other = rng.integers(0, services, 2).tolist()
        if one != other:
            calls.append((f"s{one}", f"s{other}"))
    return calls
