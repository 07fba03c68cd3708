"""Whether sidecars come for the endpoints of the Services that are steered. Pure; time comes in as an argument.

An EnvoyFilter that istiod does not read, or that leads where no sidecar can go, says nothing; and a running sidecar
that gets no answer empties its cluster when ``initial_fetch_timeout`` ends. So a filter for which nobody comes is taken
back before that, a person is told once what to look at, and it is tried again later.
"""

from __future__ import annotations

from collections.abc import Iterable

from mesh.topology import ServiceName

LIMIT_S = 15.0
"""istiod pushes within 10 s; a sidecar that warms its cluster gives up after 30 s unless settings say otherwise."""

RECONNECT_S = 40.0
"""A sidecar that has lost us tries again after up to 30 s, at random (Envoy's GrpcStream), and goes on meanwhile."""

RETRY_S = 600.0
"""A filter costs a push to every proxy, so it is not tried often."""

UNHEARD = (
    "no sidecar has asked Askew for its endpoints in time, so they are Istio's again; tried anew every "
    f"{RETRY_S / 60:.0f} minutes. Look whether istiod takes EnvoyFilters, "
    "istio.root_namespace is meshConfig.rootNamespace, a Sidecar resource or pod annotation leaves clients out, and a "
    "NetworkPolicy, istio.host, istio.identity or xds.trust_domain is in their way: "
    "kubectl logs POD -c istio-proxy | grep -e DeltaEndpoints -e rejected"
)


def limit_s(initial_fetch_timeout_s: float) -> float:
    """Return how long a filter may be there with nobody coming: half of what empties a warming cluster.

    The other half is for the look, the write and a push of istiod, which gathers changes for up to 10 s.
    0, Envoy's "for ever", empties none.

    >>> limit_s(30), limit_s(0)
    (15.0, 15.0)
    """
    return initial_fetch_timeout_s / 2.0 if initial_fetch_timeout_s else LIMIT_S


class SelfCheck:
    """``look`` again and again; ``waiting`` have time left, ``unheard`` have none and should not be steered."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._since_s: dict[ServiceName, float] = {}
        self._heard: set[ServiceName] = set()
        self._retry_at_s: dict[ServiceName, float] = {}
        self.waiting: frozenset[ServiceName] = frozenset()
        self.unheard: frozenset[ServiceName] = frozenset()

    def needs(self, wanted: Iterable[ServiceName], applied: frozenset[ServiceName]) -> bool:
        """Whether it matters to the next look who asks; not where sidecars have come for all, which is enough."""
        return not self._heard.issuperset(wanted) or not applied.issuperset(wanted)

    def look(
        self,
        wanted: Iterable[ServiceName],
        applied: frozenset[ServiceName],
        asked: frozenset[ServiceName],
        *,
        now_s: float,
        inherited: frozenset[ServiceName] = frozenset(),
    ) -> bool:
        """Take in how it is now; return whether for another Service nobody or somebody came. O(Services).

        Parameters
        ----------
        wanted:
            The Services that should be steered and that sidecars are known to be clients of.
        applied:
            The Services whose EnvoyFilter is in the cluster.
        asked:
            The Services of which a sidecar has a subscription now. To have had one is enough: later silence is another
            matter, of which the watchdog and the metrics tell.
        inherited:
            The Services whose filter was there before us: sidecars have it, and after an outage come back in their own
            time. To take such a one back would be a push to every proxy, and ten minutes without shares, for nothing.
        """
        wanted = frozenset(wanted)
        steered = wanted & applied
        self._since_s = {name: self._since_s.get(name, now_s) for name in steered}
        self._heard = (self._heard & steered) | (asked & wanted)
        silent = steered - self._heard
        late = {
            name
            for name in silent
            if now_s - self._since_s[name] >= self._limit_s + (RECONNECT_S if name in inherited else 0.0)
        }
        self._retry_at_s = {
            name: at_s
            for name, at_s in self._retry_at_s.items()
            if name in wanted and name not in self._heard and now_s < at_s
        } | {name: self._retry_at_s.get(name, now_s + RETRY_S) for name in late}
        unheard = frozenset(self._retry_at_s)
        changed = unheard != self.unheard or not self.waiting.isdisjoint(self._heard)
        self.unheard, self.waiting = unheard, silent - unheard
        return changed
