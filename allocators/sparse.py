"""Few links: at most K for each client, laid so that errors in single rates average out.

1. A *forest* that meets rates and targets exactly with few links (``forest.py``).
2. *Links in force* that local-first allows, as far as K goes.
3. *Extra links* up to K, each client sampling evenly along the targets that it may reach, every client with another
   phase, so that each endpoint is reached in proportion to its target from many different clients.
4. *Coverage*: an endpoint that only one client would reach takes a link from one that many reach (``coverage.py``).
5. *Weights* on these links: ``scaling.py``. The forest guarantees that exact ones exist.

Where a client's part of the forest alone needs more than K links, its largest K stay: K wins over exact targets.
"""

from __future__ import annotations

import numpy as np

from allocators.coverage import cover
from allocators.forest import narrow_forest
from allocators.layout import Ints, Layout
from allocators.local_first import LevelFlow
from allocators.paired import reach
from allocators.scaling import Links, balance, links_of

GOLDEN = (5**0.5 - 1) / 2
# Irrational steps that stay even on every short run of clients, and unlike each other: noble numbers 1/(n + 1/(m + g)).
STEPS = np.array([1 / (n + 1 / (m + GOLDEN)) for m in (1, 2, 3) for n in (1, 2, 3)])

REFILL = 0.7  # of K: a client that kept more of its links gets no new ones only for the sake of averaging


def sparse(layout: Layout, flows: tuple[LevelFlow, ...], *, most: int, standing: Links | None = None) -> Links:
    """Return requests on at most ``most`` links for each client with a rate.

    Parameters
    ----------
    layout:
        N clients, M endpoints; ``flows`` are its proportional flows.
    most:
        K >= 1.
    standing:
        Links in force that local-first allows today, weighed by their shares; they stand before new ones are laid.

    Returns
    -------
    Links
        rows exact; columns exact wherever the forest needs at most K links a client.

    Notes
    -----
    Cost O((N+M) log(N+M) + T·L) for L <= N·K links and T rounds of scaling.
    """
    width = len(layout.targets)
    whole = narrow_forest(layout, most=most)
    base = largest(whole, most=most)
    held = base if standing is None else largest(_first_then(base, standing, width=width), most=most)
    spare = np.where(layout.rates > 0.0, most - np.bincount(held.clients, minlength=len(layout.rates)), 0)
    if standing is not None:
        spare[spare <= (1 - REFILL) * most] = 0
    extra_clients, extra_endpoints = samples(layout, flows, spare)
    links = links_of(
        np.concatenate((held.clients, extra_clients)),
        np.concatenate((held.endpoints, extra_endpoints)),
        np.ones(len(held.clients) + len(extra_clients)),
        width=width,
    )
    exact = whole if base is whole else None
    return balance(cover(links, exact, layout, flows, most=most), layout, flows, exact=exact)


def largest(links: Links, *, most: int) -> Links:
    """Keep each client's ``most`` largest links."""
    counts = np.bincount(links.clients)
    if counts.max(initial=0) <= most:
        return links
    order = np.lexsort((-np.round(links.requests, 12), links.clients))  # rounded: ties must not hang on the last bit
    rank = np.arange(len(order)) - (np.cumsum(counts) - counts)[links.clients[order]]
    kept = np.sort(order[rank < most])
    return Links(links.clients[kept], links.endpoints[kept], links.requests[kept])


def _first_then(first: Links, then: Links, *, width: int) -> Links:
    """Return both together, weighed so that any of ``first`` outranks all of ``then``."""
    return links_of(
        np.concatenate((first.clients, then.clients)),
        np.concatenate((first.endpoints, then.endpoints)),
        np.concatenate((first.requests + 2.0, then.requests / max(1.0, then.requests.max(initial=0.0)))),
        width=width,
    )


def samples(layout: Layout, flows: tuple[LevelFlow, ...], spare: Ints) -> tuple[Ints, Ints]:
    """Return ``spare[i]`` endpoints for each client, spread evenly over what it may reach (some may repeat)."""
    clients = np.repeat(np.arange(len(spare)), spare)
    slots = np.arange(len(clients)) - np.repeat(np.cumsum(spare) - spare, spare)
    phases = ((clients + 1) * STEPS[slots % len(STEPS)] + slots * GOLDEN) % 1.0
    position = (slots + phases) / spare[clients] * layout.rates[clients]
    chosen = np.full(len(clients), -1, dtype=np.intp)
    for flow in flows:
        row = reach(flow, layout)
        if not len(row.endpoints):  # rounding left something to send, but nothing to take it
            break
        here = np.flatnonzero((chosen == -1) & (position < flow.sent[clients]))
        owners = clients[here]
        along = row.begins[owners] + position[here] / flow.sent[owners] * row.widths[owners]
        found = row.endpoints[np.minimum(np.searchsorted(row.ends, along, side="right"), len(row.ends) - 1)]
        # Rounding may lead one step past the group: no link rather than a wrong one.
        chosen[here] = np.where(flow.endpoint_groups[found] == flow.client_groups[owners], found, -2)
        position = position - flow.sent[clients]
    real = chosen >= 0
    return clients[real], chosen[real]
