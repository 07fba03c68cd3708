"""Links that a Prometheus tells of, beside those that sidecars report themselves: one source for each pair, never two.

The flows of NetMARKS as means over a window: what its running mean keeps of a past that is over would draw pods to it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from estimators.live_links import LiveLinks, busiest_first
from mesh.picture import Link
from mesh.telemetry import ByteExchange

HELD_WINDOWS = 2.0
"""How old a rate may be, in windows: as long as its own and once more, for a Prometheus that starts anew."""

ONE_SIDED = 0.5
"""Confidence of what nobody else confirms: 1 / (1 + 1), as if it could be wrong by all of it."""


def with_told_links(
    links: LiveLinks, exchanges: Iterable[ByteExchange], *, services: Container[str], now_s: float
) -> LiveLinks:
    """Return ``links`` with the pairs of services that only a Prometheus tells of; ``links`` itself if there are none.

    A pair that sidecars ``measured`` stays as it is, both directions; what was peeled or estimated gives way. What is
    older than two of its windows, or of services that are gone, is none.

    Cost: O(links + exchanges, sorted).

    Examples
    --------
    >>> told = ByteExchange("web", "shop", 90.0, 300.0, 10.0, 40.0, residual=0.25)
    >>> for link in with_told_links(LiveLinks(), [told], services={"web", "shop"}, now_s=100.0).links:
    ...     print(link.source, link.target, link.rate_bytes_per_s, link.method, link.confidence, link.age_s)
    shop web 40.0 prometheus 0.8 10.0
    web shop 10.0 prometheus 0.8 10.0
    """
    own = [(link.source, link.target) for link in links.links if link.method == "measured"]
    measured = {*own, *((target, source) for source, target in own)}
    told: dict[tuple[str, str], Link] = {}
    for one in exchanges:
        is_held = now_s - one.time_s <= HELD_WINDOWS * one.window_s
        is_known = one.client in services and one.server in services
        if is_held and is_known and (one.client, one.server) not in measured:
            _add(told, one, now_s=now_s)
    if not told:
        return links
    kept = [link for link in links.links if (link.source, link.target) not in told]
    return LiveLinks(busiest_first([*kept, *told.values()]), links.to_measure)


def _add(told: dict[tuple[str, str], Link], one: ByteExchange, *, now_s: float) -> None:
    """Add both directions; two services may call each other."""
    confidence = ONE_SIDED if one.residual is None else 1.0 / (1.0 + one.residual)
    age_s = max(0.0, now_s - one.time_s)
    for source, target, rate in (
        (one.client, one.server, one.sent_bytes_per_s),
        (one.server, one.client, one.received_bytes_per_s),
    ):
        known = told.get((source, target))
        if known is None:
            link = Link(source, target, rate, "prometheus", confidence, one.residual or 0.0, age_s)
        else:
            link = Link(
                source,
                target,
                known.rate_bytes_per_s + rate,
                "prometheus",
                confidence=min(known.confidence, confidence),
                residual=max(known.residual, one.residual or 0.0),
                age_s=max(known.age_s, age_s),
            )
        told[source, target] = link
