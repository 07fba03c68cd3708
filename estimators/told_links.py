"""Links that a Prometheus tells of, beside those that sidecars report themselves: one source for each pair, never two.

The flows of NetMARKS as means over a window: what its running mean keeps of a past that is over would draw pods to it.
They are made and sorted once a reading, so that a tick costs nothing where nobody else tells of links.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from estimators.live_links import Ends, LiveLinks, busiest_first
from mesh.picture import Link
from mesh.telemetry import ByteExchange, ToldLinks

HELD_WINDOWS = 2.0
"""How old a rate may be, in windows: as long as its own and once more, for a Prometheus that starts anew."""

ONE_SIDED = 0.5
"""Confidence of what nobody else confirms: 1 / (1 + 1), as if it could be wrong by all of it."""


def told_links(exchanges: Iterable[ByteExchange]) -> tuple[Link, ...]:
    """Return both directions of every exchange, busiest first; two services may call each other. O(n log n).

    Examples
    --------
    >>> told = ByteExchange("web", "shop", 90.0, 300.0, 10.0, 40.0, residual=0.25)
    >>> for link in told_links([told]):
    ...     print(link.source, link.target, link.rate_bytes_per_s, link.method, link.confidence, link.age_s(100.0))
    shop web 40.0 prometheus 0.8 10.0
    web shop 10.0 prometheus 0.8 10.0
    """
    links: dict[Ends, Link] = {}
    for one in exchanges:
        _add(links, one)
    return busiest_first(links.values())


def with_told_links(links: LiveLinks, told: ToldLinks, *, services: Set[str], now_s: float) -> LiveLinks:
    """Return ``links`` with the pairs of ``services`` that only a Prometheus tells of; ``links`` itself for none.

    A pair that sidecars ``measured`` stays as it is, both directions; what was peeled or estimated gives way to what
    Istio counted, and an estimate to what pods counted where that is surer. What is older than two windows, or of
    services that are gone, is none. The told links are the very same tuple where all of them count and nobody else
    tells any.

    Cost: O(1) then; else O(links of both, sorted).
    """
    current = _current(told, services, now_s=now_s)
    if not current:
        return links
    if not links.links:
        return LiveLinks(current, links.to_measure)
    own = {(link.source, link.target): link for link in links.links}
    measured = {ends for ends, link in own.items() if link.method == "measured"}
    measured |= {(target, source) for source, target in measured}
    joined = own | {
        ends: link
        for link in current
        if (ends := (link.source, link.target)) not in measured and _is_better(link, own.get(ends))
    }
    return LiveLinks(busiest_first(joined.values()), links.to_measure)


def held(told: ToldLinks, *, now_s: float) -> tuple[Link, ...]:
    """Return the links that are young enough to count; the very same tuple where all are."""
    longest_s = HELD_WINDOWS * told.window_s
    if now_s - told.oldest_s <= longest_s:
        return told.links
    return tuple(link for link in told.links if link.age_s(now_s) <= longest_s)


def _current(told: ToldLinks, services: Set[str], *, now_s: float) -> tuple[Link, ...]:
    if told.services <= services:
        return held(told, now_s=now_s)
    return tuple(link for link in held(told, now_s=now_s) if link.source in services and link.target in services)


def _is_better(link: Link, own: Link | None) -> bool:
    if own is None or link.method == "prometheus":
        return True
    return own.method == "estimated" and own.confidence < link.confidence


def _add(links: dict[Ends, Link], one: ByteExchange) -> None:
    confidence = ONE_SIDED if one.residual is None else 1.0 / (1.0 + one.residual)
    residual, time_s = one.residual or 0.0, one.time_s
    for source, target, rate in (
        (one.client, one.server, one.sent_bytes_per_s),
        (one.server, one.client, one.received_bytes_per_s),
    ):
        known = links.get((source, target))
        if known is not None:
            rate += known.rate_bytes_per_s
            confidence, residual = min(known.confidence, confidence), max(known.residual, residual)
            time_s = min(time_s, time_s if known.time_s is None else known.time_s)
        links[source, target] = Link(source, target, rate, "prometheus", confidence, residual, time_s)
