"""Whether sidecars come for the endpoints of the Services that are steered. Pure; time comes in as an argument.

An EnvoyFilter that istiod does not read, or that leads where no sidecar can go, says nothing. So after a while without
a single subscription a person is told what to look at; once, however long it stays so.
"""

from __future__ import annotations

from collections.abc import Iterable

from mesh.topology import ServiceName

LIMIT_S = 60.0
"""istiod's push, and a sidecar's way to us, are over long before."""

UNHEARD = (
    f"no sidecar has asked Askew for its endpoints within {LIMIT_S:.0f} s. Look whether istiod takes EnvoyFilters, "
    "istio.root_namespace is meshConfig.rootNamespace, a Sidecar resource or pod annotation leaves clients out, and a "
    "NetworkPolicy, istio.host, istio.identity or xds.trust_domain is in their way: "
    "kubectl logs POD -c istio-proxy | grep -e DeltaEndpoints -e rejected"
)


class SelfCheck:
    """``look`` again and again; ``waiting`` have time left, ``unheard`` have none."""

    def __init__(self) -> None:
        self._since_s: dict[ServiceName, float] = {}
        self._heard: set[ServiceName] = set()
        self.waiting: frozenset[ServiceName] = frozenset()
        self.unheard: frozenset[ServiceName] = frozenset()

    def look(self, steered: Iterable[ServiceName], asked: frozenset[ServiceName], *, now_s: float) -> bool:
        """Take in how it is now; return whether another Service is unheard, or one no more. O(Services).

        Parameters
        ----------
        steered:
            The Services whose EnvoyFilter is in the cluster and that sidecars are known to be clients of.
        asked:
            The Services of which a sidecar has a subscription now. To have had one is enough: later silence is another
            matter, of which the watchdog and the metrics tell.
        """
        steered = frozenset(steered)
        self._since_s = {name: self._since_s.get(name, now_s) for name in steered}
        self._heard = (self._heard | asked) & steered
        silent = steered - self._heard
        unheard = frozenset(name for name in silent if now_s - self._since_s[name] >= LIMIT_S)
        changed = unheard != self.unheard
        self.unheard, self.waiting = unheard, silent - unheard
        return changed
