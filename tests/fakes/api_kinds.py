"""What the API-server stand-in knows of each resource: where it lives and how its updates are treated.

Sources: Kubernetes' registry strategies (``AllowUnconditionalUpdate``); Istio's CRDs (status subresource, lists).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ServedKind:
    """One resource of one API version.

    ``custom`` objects carry ``kind`` and ``apiVersion`` inside lists, which built-in ones do not. ``keyed`` names the
    lists that server-side apply merges, by path: the keys of a map list, or no keys for a set; all others are atomic.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    custom: bool = False
    has_status: bool = False
    unconditional_update: bool = True
    keyed: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def full_name(self) -> str:
        """As messages have it: ``leases.coordination.k8s.io``, ``pods``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


def _istio(group: str, version: str, plural: str, kind: str) -> ServedKind:
    return ServedKind(
        f"{group}.istio.io", version, plural, kind, custom=True, has_status=True, unconditional_update=False
    )


_CONDITIONS = {"status.conditions": ("type",)}
KINDS = (
    ServedKind("", "v1", "namespaces", "Namespace", namespaced=False, has_status=True, keyed=_CONDITIONS),
    ServedKind("", "v1", "nodes", "Node", namespaced=False, has_status=True, keyed=_CONDITIONS),
    ServedKind("", "v1", "pods", "Pod", has_status=True, keyed=_CONDITIONS | {"spec.containers": ("name",)}),
    ServedKind(
        "", "v1", "services", "Service", has_status=True, keyed=_CONDITIONS | {"spec.ports": ("port", "protocol")}
    ),
    ServedKind("", "v1", "configmaps", "ConfigMap"),
    ServedKind("", "v1", "events", "Event"),
    ServedKind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
    ServedKind("coordination.k8s.io", "v1", "leases", "Lease", unconditional_update=False),
    ServedKind("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False),
    ServedKind("apps", "v1", "deployments", "Deployment", has_status=True, keyed=_CONDITIONS),
    ServedKind("apps", "v1", "replicasets", "ReplicaSet", has_status=True, keyed=_CONDITIONS),
    ServedKind("apps", "v1", "statefulsets", "StatefulSet", has_status=True, keyed=_CONDITIONS),
    ServedKind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", has_status=True, keyed=_CONDITIONS),
    _istio("networking", "v1", "destinationrules", "DestinationRule"),
    _istio("networking", "v1", "virtualservices", "VirtualService"),
    _istio("networking", "v1", "sidecars", "Sidecar"),
    _istio("networking", "v1", "serviceentries", "ServiceEntry"),
    _istio("networking", "v1alpha3", "envoyfilters", "EnvoyFilter"),
    _istio("security", "v1", "peerauthentications", "PeerAuthentication"),
)
