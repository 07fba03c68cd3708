"""How Istio's sidecars reach Askew, and the names of all that we put into a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mesh.errors import BadInputError
from mesh.topology import ServiceName

Mode = Literal["dynamicCluster", "bootstrap", "googleGrpc", "native"]
MODES: tuple[Mode, ...] = get_args(Mode)

MANAGED_BY = "app.kubernetes.io/managed-by"
OWNER = "askew"
LABELS = {MANAGED_BY: OWNER}
SELECTOR = f"{MANAGED_BY}={OWNER}"
FIELD_MANAGER = "askew"
FINALIZER = "askew.mesh/steered-services"
"""On the shared EnvoyFilter alone: the way to us must not go while a Service's filter still leads over it."""

CLUSTER = "askew-xds"
SHARED_FILTER = "askew-xds-cluster"
BOOTSTRAP_CONFIG = "askew-bootstrap"


@dataclass(frozen=True, slots=True)
class Integration:
    """Which way the sidecars take, and where it leads."""

    mode: Mode = "dynamicCluster"
    """``dynamicCluster`` adds a cluster by EnvoyFilter; ``bootstrap`` by a ConfigMap and a restart of the client pods;
    ``googleGrpc`` needs no cluster; ``native`` uses no EnvoyFilter and no xDS of ours at all."""

    root_namespace: str = "istio-system"
    """``meshConfig.rootNamespace``: an EnvoyFilter there holds for the whole mesh."""

    host: str = "askew-xds.askew-system.svc.cluster.local"
    """Where the control plane's replicas are: a headless Service, so that each of them is an endpoint."""

    port: int = 18000
    """Its xDS port."""

    token_port: int = 18002
    """Its port for sidecars that show a token: those of ``googleGrpc``, unless the transport is ``plaintext``."""

    token_audience: str = "istio-ca"
    """Of the token that Istio mounts into its sidecars; one of another audience does not count."""

    transport: Literal["mtls", "plaintext"] = "mtls"
    """``mtls`` shows Istio's workload certificate and wants ``identity``; ``plaintext`` is for a laptop."""

    identity: str = "spiffe://cluster.local/ns/askew-system/sa/askew"
    """The only name that the control plane's certificate may have."""

    cluster_domain: str = "cluster.local"
    """The cluster's DNS domain: Istio's cluster names end with it."""

    gateways: Literal["leave", "steer"] = "leave"
    """Whether gateways, too, take their endpoints from us (``context: GATEWAY``)."""

    initial_fetch_timeout_s: int = 30
    """How long a fresh proxy waits for us. Istio's own 0 (for ever) would keep a pod from starting while we are down;
    a few seconds would empty a running proxy's cluster that is warmed anew. The watchdog is faster than this."""


def check(to: Integration) -> None:
    """Raise BadInputError, one line, for a setting that is none of the words that are allowed."""
    words = {"mode": MODES, "transport": ("mtls", "plaintext"), "gateways": ("leave", "steer")}
    for name, allowed in words.items():
        found = getattr(to, name)
        if found not in allowed:
            raise BadInputError(f"istio.{name}", found, " | ".join(allowed))


@dataclass(frozen=True, slots=True)
class SteeredService:
    """A Service whose clusters are to take their endpoints from us.

    ``least_request_clusters`` names those of its clusters that Istio balances by LEAST_REQUEST; None: all of them.
    """

    name: ServiceName
    least_request_clusters: tuple[str, ...] | None = None

    @property
    def filter_name(self) -> str:
        """The name of its EnvoyFilter: ``askew.<namespace>.<service>``.

        >>> SteeredService(ServiceName("reviews.shop")).filter_name
        'askew.shop.reviews'
        """
        name, _, namespace = self.name.rpartition(".")
        return f"askew.{namespace}.{name}"


def host_of(service: ServiceName, *, cluster_domain: str) -> str:
    """Return a Service's fully qualified host name, as Istio's registry has it."""
    return f"{service}.svc.{cluster_domain}"
