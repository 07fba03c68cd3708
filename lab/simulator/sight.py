"""What a policy may see. The engine hands out NaN for all else, so a policy that peeks gains nothing by it."""

from __future__ import annotations

from enum import Enum


class Sight(Enum):
    """From where a policy looks.

    Attributes
    ----------
    SIDECAR:
        Its own requests in flight and responses (with the load reports in them), and what was pushed to it; at ticks
        the telemetry of closed windows. Every deployable policy but one.
    PROBE:
        Also a server's requests in flight and latencies, by asking it: Prequal. What it reads at ``now`` it must not
        use before a round trip has passed.
    ORACLE:
        True speeds, rates and queues. Not deployable; a bound to compare with.
    """

    SIDECAR = "sidecar"
    PROBE = "probe"
    ORACLE = "oracle"
