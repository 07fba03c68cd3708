"""What a request pays for leaving its node, in ms: the operator's price, or the latency difference that is measured."""

from __future__ import annotations

from estimators.latency import LatencyFigure

MOST_PRICE_MS = 50.0  # a difference of more is a slow service, not a slow network


def crossing_price(
    given_ms: float | None, *, local: LatencyFigure | None, crossing: LatencyFigure | None, last_ms: float = 0.0
) -> float:
    """Return the price of a request that crosses, ≥ 0.

    Parameters
    ----------
    given_ms:
        ``askew.mesh/cross-node-cost``, None for auto.
    local, crossing:
        What clients see of requests that stayed on and left their node, without what the servers took for the same
        requests as far as that is known; None where it is unknown.
    last_ms:
        The price so far: it stands where nothing is known, and moves by half otherwise, so that a figure of one tick
        does not swing the targets.

    Examples
    --------
    >>> one, other = LatencyFigure(0.2, None, 100, 5.0, 0.0), LatencyFigure(1.2, None, 100, 5.0, 0.0)
    >>> crossing_price(None, local=one, crossing=other, last_ms=1.0)
    1.0
    >>> crossing_price(3.0, local=one, crossing=other)
    3.0
    """
    if given_ms is not None:
        return max(0.0, given_ms)
    if local is None or crossing is None:
        return last_ms
    seen_ms = min(MOST_PRICE_MS, max(0.0, crossing.mean_ms - local.mean_ms))
    return (last_ms + seen_ms) / 2.0
