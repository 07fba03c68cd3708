"""What Istio knows of endpoints and Services beyond a topology: labels, mTLS, workloads, subsets, ejection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a topology holds these facts
    from mesh.topology import ContainerName, ServiceName


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """What istiod would say of one endpoint, beside its address.

    Attributes
    ----------
    labels:
        The pod's labels; a DestinationRule's subset is the endpoints that have all of its labels.
    takes_mtls:
        Whether a sidecar stands before it that speaks Istio's mTLS (label ``security.istio.io/tlsMode: istio``).
    plaintext_ports:
        Ports on its address where a PeerAuthentication has switched mTLS off.
    workload:
        ``<workload>;<namespace>;<canonical service>;<canonical revision>;<cluster id>``, for telemetry; empty if
        unknown.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    takes_mtls: bool = False
    plaintext_ports: frozenset[int] = frozenset()
    workload: str = ""

    def takes_mtls_on(self, port: int) -> bool:
        """Whether mTLS is spoken on a port of its address."""
        return self.takes_mtls and port not in self.plaintext_ports


NOTHING_KNOWN = EndpointFacts()


@dataclass(frozen=True, slots=True)
class IstioFacts:
    """Istio's side of a topology.

    Attributes
    ----------
    endpoints:
        By container.
    subsets:
        Of each Service with a DestinationRule: the labels that each subset wants.
    ejecting:
        Names of the clusters with outlier detection: only there can a standby (priority 1) ever take over.
    """

    endpoints: Mapping[ContainerName, EndpointFacts] = field(default_factory=dict)
    subsets: Mapping[ServiceName, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)
    ejecting: frozenset[str] = frozenset()

    def of(self, container: ContainerName) -> EndpointFacts:
        return self.endpoints.get(container, NOTHING_KNOWN)

    def is_in_subset(self, container: ContainerName, service: ServiceName, subset: str) -> bool:
        """Whether an endpoint belongs to a subset; every one to the empty name and to a subset that nobody defines.

        >>> facts = IstioFacts(
        ...     endpoints={"a": EndpointFacts({"version": "v1"})},
        ...     subsets={"shop.default": {"v1": {"version": "v1"}, "v2": {"version": "v2"}}},
        ... )
        >>> [facts.is_in_subset("a", "shop.default", name) for name in ("", "v1", "v2")]
        [True, True, False]
        """
        wanted = self.subsets.get(service, {}).get(subset)
        if not wanted:
            return True
        labels = self.of(container).labels
        return all(labels.get(key) == value for key, value in wanted.items())


NO_FACTS = IstioFacts()
