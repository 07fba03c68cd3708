"""What this room keeps of Kubernetes and Istio objects; ``pruning.py`` reads them.

Sources: Kubernetes API reference v1.3x; Istio, reference of DestinationRule, VirtualService and PeerAuthentication.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Key = tuple[str, str]  # namespace (empty for cluster-wide kinds), name
Strings = Mapping[str, str]

NETWORK = "topology.istio.io/network"
INJECTED = "sidecar.istio.io/status"
"""The annotation of a pod that Istio has given a sidecar."""
BOOTSTRAP_OVERRIDE = "sidecar.istio.io/bootstrapOverride"
"""The annotation of a pod that names a ConfigMap, without which it cannot start."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """A Namespace."""

    name: str
    labels: Strings = field(default_factory=dict)
    annotations: Strings = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Node:
    """A Node."""

    name: str
    labels: Strings = field(default_factory=dict)
    """Only those of places: region, zone, subzone."""
    ready: bool = True


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that still has an address, or will have one."""

    namespace: str
    name: str
    node: str = ""
    addresses: tuple[str, ...] = ()
    labels: Strings = field(default_factory=dict)
    annotations: Strings = field(default_factory=dict)
    service_account: str = ""
    workload: str = ""
    workload_kind: str = ""
    host_network: bool = False
    ended: bool = False
    uid: str = ""
    container_id: str = ""
    """The runtime's id of its app's container while that runs, without the runtime's name."""
    ready_since_s: float | None = None
    """Since when, in seconds since the epoch, it is ready and not about to go; None where it is not."""
    is_gateway: bool = False
    """Its proxy is a gateway's or a waypoint, no sidecar."""


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a Service."""

    number: int
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """A Service."""

    namespace: str
    name: str
    uid: str = ""
    type: str = "ClusterIP"
    cluster_ip: str = ""
    ip_families: tuple[str, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    has_selector: bool = True
    selector: Strings = field(default_factory=dict)
    labels: Strings = field(default_factory=dict)
    annotations: Strings = field(default_factory=dict)
    session_affinity: str = ""
    publishes_not_ready: bool = False
    internal_traffic_policy: str = ""
    traffic_distribution: str = ""
    conditions: tuple[tuple[str, str, str, str], ...] = ()
    """Ours: type, status, reason, message."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``pod`` is (namespace, name), or None for an address that is no pod's."""

    addresses: tuple[str, ...]
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    node: str = ""
    zone: str = ""
    pod: Key | None = None


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    """Some endpoints of one Service, of one family, with the same ports."""

    namespace: str
    name: str
    service: str = ""
    family: str = "IPv4"
    ports: tuple[tuple[str, int], ...] = ()
    """Port name and number; a port without a number is left out."""
    endpoints: tuple[Endpoint, ...] = ()
    managed_by: str = ""


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """What of a DestinationRule's ``trafficPolicy`` decides about weights, subsets and standbys."""

    balancer: str = ""
    """``simple``, or ``consistentHash``; empty: not said."""
    ejects: bool = False
    tls_mode: str = ""
    distributes: bool = False
    """``localityLbSetting.distribute`` or ``failover``: weights of localities that are not ours."""
    warms_up: bool = False
    ports: tuple[tuple[int, TrafficPolicy], ...] = ()


@dataclass(frozen=True, slots=True)
class Subset:
    """A subset of a DestinationRule."""

    name: str
    labels: Strings = field(default_factory=dict)
    policy: TrafficPolicy | None = None


@dataclass(frozen=True, slots=True)
class DestinationRule:
    """What one DestinationRule says of a host."""

    namespace: str
    name: str
    host: str = ""
    policy: TrafficPolicy = TrafficPolicy()
    subsets: tuple[Subset, ...] = ()
    labels: Strings = field(default_factory=dict)
    for_some_clients: bool = False
    """It has a ``workloadSelector``."""


@dataclass(frozen=True, slots=True)
class VirtualService:
    """A VirtualService: only whom it concerns."""

    namespace: str
    name: str
    hosts: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    labels: Strings = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PeerAuthentication:
    """Which mTLS mode servers want."""

    namespace: str
    name: str
    selector: Strings = field(default_factory=dict)
    mode: str = ""
    ports: tuple[tuple[int, str], ...] = ()
    created: str = ""
    """The oldest wins where several are equally near."""


Pruned = Namespace | Node | Pod | Service | EndpointSlice | DestinationRule | VirtualService | PeerAuthentication
