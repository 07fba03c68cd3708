"""The resources that this room reads and writes, and their paths in the API."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource of one API version.

    >>> LEASES.path(namespace="askew-system", name="askew")
    '/apis/coordination.k8s.io/v1/namespaces/askew-system/leases/askew'
    """

    group: str
    version: str
    plural: str
    name: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, *, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Return the path of a collection (all namespaces where none is given), an object or its subresource."""
        parts = ["", "apis", self.group, self.version] if self.group else ["", "api", self.version]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        return "/".join([*parts, self.plural, *(part for part in (name, subresource) if part)])

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


NAMESPACES = Kind("", "v1", "namespaces", "Namespace", namespaced=False)
NODES = Kind("", "v1", "nodes", "Node", namespaced=False)
PODS = Kind("", "v1", "pods", "Pod")
SERVICES = Kind("", "v1", "services", "Service")
EVENTS = Kind("", "v1", "events", "Event")
ENDPOINT_SLICES = Kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
LEASES = Kind("coordination.k8s.io", "v1", "leases", "Lease")
DEPLOYMENTS = Kind("apps", "v1", "deployments", "Deployment")
DISRUPTION_BUDGETS = Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
DESTINATION_RULES = Kind("networking.istio.io", "v1", "destinationrules", "DestinationRule")
VIRTUAL_SERVICES = Kind("networking.istio.io", "v1", "virtualservices", "VirtualService")
TOKEN_REVIEWS = Kind("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)
ENVOY_FILTERS = Kind("networking.istio.io", "v1alpha3", "envoyfilters", "EnvoyFilter")
PEER_AUTHENTICATIONS = Kind("security.istio.io", "v1", "peerauthentications", "PeerAuthentication")

CORE_KINDS = (NAMESPACES, NODES, PODS, SERVICES, ENDPOINT_SLICES)
ISTIO_KINDS = (DESTINATION_RULES, VIRTUAL_SERVICES, PEER_AUTHENTICATIONS)
