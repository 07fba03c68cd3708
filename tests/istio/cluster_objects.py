"""Kubernetes and Istio objects for tests, as the API has them, with only what matters said."""

from __future__ import annotations

from typing import Any

Body = dict[str, Any]
READY = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
INJECTED = {"sidecar.istio.io/status": '{"revision":"default"}'}


def namespace(name: str = "default", *, labels: dict[str, str] | None = None, **annotations: str) -> Body:
    """Return a Namespace; annotations by their names without the prefix."""
    metadata = {"name": name, "labels": labels or {}, "annotations": _ours(annotations)}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def node(name: str, *, zone: str = "", region: str = "", **labels: str) -> Body:
    """Return a Node in a zone."""
    places = {"topology.kubernetes.io/zone": zone, "topology.kubernetes.io/region": region}
    known = {key: value for key, value in places.items() if value} | labels
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": known}}


def pod(
    name: str,
    *,
    on: str = "n1",
    ip: str = "10.0.0.1",
    namespace: str = "default",
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    sidecar: bool = True,
    owner: tuple[str, str] | None = None,
    spec: Body | None = None,
    **ours: str,
) -> Body:
    """Return a running Pod; ``owner`` is (kind, name)."""
    metadata: Body = {"name": name, "namespace": namespace, "labels": dict(labels or {})}
    metadata["annotations"] = (INJECTED if sidecar else {}) | (annotations or {}) | _ours(ours)
    if sidecar:
        metadata["labels"].setdefault("security.istio.io/tlsMode", "istio")
    if owner is not None:
        metadata["ownerReferences"] = [{"kind": owner[0], "name": owner[1], "controller": True}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"nodeName": on, "serviceAccountName": "default"} | (spec or {}),
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [READY]},
    }


def service(
    name: str = "reviews",
    *,
    namespace: str = "default",
    ports: list[Body] | None = None,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    spec: Body | None = None,
    **ours: str,
) -> Body:
    """Return a Service with a cluster IP and one HTTP port; a key of ``spec`` that is None is left out."""
    whole = {
        "type": "ClusterIP",
        "clusterIP": "10.96.0.1",
        "ipFamilies": ["IPv4"],
        "selector": {"app": name},
        "ports": ports or [{"name": "http", "port": 9080, "protocol": "TCP", "targetPort": 9080}],
    } | (spec or {})
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels or {},
            "annotations": (annotations or {}) | _ours(ours),
        },
        "spec": {key: value for key, value in whole.items() if value is not None},
    }


def endpoint(ip: str, pod: str = "", *, on: str = "n1", namespace: str = "default", **conditions: bool) -> Body:
    """Return one endpoint, ready unless said otherwise; of a pod where it is named."""
    found: Body = {"addresses": [ip], "nodeName": on, "conditions": {"ready": True, "serving": True} | conditions}
    if pod:
        found["targetRef"] = {"kind": "Pod", "name": pod, "namespace": namespace}
    return found


def endpoint_slice(
    *endpoints: Body,
    of: str = "reviews",
    name: str = "",
    namespace: str = "default",
    family: str = "IPv4",
    ports: dict[str, int] | None = None,
    managed_by: str = "endpointslice-controller.k8s.io",
) -> Body:
    """Return an EndpointSlice of a Service; ports by name."""
    labels = {"kubernetes.io/service-name": of, "endpointslice.kubernetes.io/managed-by": managed_by}
    numbers = {"http": 9080} if ports is None else ports
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name or f"{of}-abcde", "namespace": namespace, "labels": labels},
        "addressType": family,
        "ports": [{"name": key, "port": number, "protocol": "TCP"} for key, number in numbers.items()],
        "endpoints": list(endpoints),
    }


def destination_rule(
    spec: Body, *, name: str = "reviews", namespace: str = "default", host: str = "reviews", version: str = "v1"
) -> Body:
    """Return a DestinationRule."""
    return {
        "apiVersion": f"networking.istio.io/{version}",
        "kind": "DestinationRule",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"host": host} | spec,
    }


def virtual_service(*hosts: str, name: str = "reviews", namespace: str = "default") -> Body:
    """Return a VirtualService."""
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"hosts": list(hosts)},
    }


def peer_authentication(
    mode: str,
    *,
    name: str = "default",
    namespace: str = "default",
    selector: dict[str, str] | None = None,
    **ports: str,
) -> Body:
    """Return a PeerAuthentication; ports as ``p8080="DISABLE"``."""
    spec: Body = {"mtls": {"mode": mode}}
    if selector is not None:
        spec["selector"] = {"matchLabels": selector}
    if ports:
        spec["portLevelMtls"] = {port.removeprefix("p"): {"mode": said} for port, said in ports.items()}
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def _ours(annotations: dict[str, str]) -> dict[str, str]:
    return {"askew.mesh/" + key.replace("_", "-"): value for key, value in annotations.items()}
