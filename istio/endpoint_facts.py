"""What istiod writes beside an endpoint's address, from its pod: labels, mTLS, workload. Pure.

Source: Istio, ``buildEnvoyLbEndpoint``, ``AppendLbEndpointMetadata``, ``GetDeployMetaFromPod``, and the precedence of
PeerAuthentications (workload, namespace, mesh).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mesh.istio_facts import EndpointFacts

TLS_MODE = "security.istio.io/tlsMode"
NAMES = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
REVISIONS = ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")
DISABLE = "DISABLE"
Object = Mapping[str, Any]


def endpoint_facts(
    pod: Object,
    peer_authentications: Iterable[Object],
    *,
    root_namespace: str = "istio-system",
    cluster_id: str = "Kubernetes",
) -> EndpointFacts:
    """Return the facts of a pod; ``peer_authentications`` are all of the mesh, or those of its and the root namespace.

    An endpoint without a sidecar, or where a PeerAuthentication switches mTLS off, must not be spoken to over mTLS; one
    with a sidecar must, should its policy be STRICT.
    """
    metadata = pod["metadata"]
    labels: dict[str, str] = metadata.get("labels") or {}
    namespace = str(metadata.get("namespace", "default"))
    mode, ports = _mtls(labels, namespace, peer_authentications, root_namespace)
    return EndpointFacts(
        labels=labels,
        takes_mtls=labels.get(TLS_MODE) == "istio" and (mode != DISABLE or any(m != DISABLE for m in ports.values())),
        plaintext_ports=frozenset(_plaintext(pod, mode, ports)),
        workload=_workload(metadata, labels, namespace, cluster_id),
    )


def _workload(metadata: Object, labels: Mapping[str, str], namespace: str, cluster_id: str) -> str:
    workload = _controller(metadata, labels)
    name = next((labels[key] for key in NAMES if labels.get(key)), workload)
    revision = next((labels[key] for key in REVISIONS if labels.get(key)), "latest")
    return ";".join((workload, namespace, name, "" if revision == "latest" else revision, cluster_id))


def _controller(metadata: Object, labels: Mapping[str, str]) -> str:
    """Return the workload's name: the Deployment behind a ReplicaSet, another controller, or the pod itself."""
    owners = metadata.get("ownerReferences") or ()
    owner = next((one for one in owners if one.get("controller")), None)
    if owner is None:
        return str(metadata["name"])
    name = str(owner["name"])
    template = labels.get("pod-template-hash", "")
    if owner.get("kind") == "ReplicaSet" and template and name.endswith(f"-{template}"):
        return name.removesuffix(f"-{template}")
    return name


def _mtls(
    labels: Mapping[str, str], namespace: str, policies: Iterable[Object], root_namespace: str
) -> tuple[str, dict[int, str]]:
    """Return the mode of a workload (empty: nobody says) and the modes of single ports."""
    by_rank: dict[int, list[Object]] = {0: [], 1: [], 2: []}
    for policy in policies:
        own = policy["metadata"].get("namespace", "default")
        wanted = ((policy.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
        if wanted and own == namespace and all(labels.get(key) == value for key, value in wanted.items()):
            by_rank[0].append(policy)
        elif not wanted and own == namespace:
            by_rank[1].append(policy)
        elif not wanted and own == root_namespace:
            by_rank[2].append(policy)
    mode, ports = "", {}
    for rank in (0, 1, 2):
        # The oldest of several with the same reach counts.
        for policy in sorted(by_rank[rank], key=lambda one: str(one["metadata"].get("creationTimestamp", "")))[:1]:
            spec = policy.get("spec") or {}
            found = str((spec.get("mtls") or {}).get("mode", "UNSET"))
            mode = mode or ("" if found == "UNSET" else found)
            if rank == 0:
                ports = {int(port): str(one.get("mode", "UNSET")) for port, one in _port_level(spec).items()}
    return mode, {port: one for port, one in ports.items() if one != "UNSET"}


def _port_level(spec: Object) -> Mapping[str, Any]:
    return spec.get("portLevelMtls") or {}


def _plaintext(pod: Object, mode: str, ports: Mapping[int, str]) -> Iterable[int]:
    """Yield the ports where mTLS is off: named ones; where it is off altogether, all others that the pod declares."""
    yield from (port for port, one in ports.items() if one == DISABLE)
    if mode != DISABLE:
        return
    for container in (pod.get("spec") or {}).get("containers") or ():
        for declared in container.get("ports") or ():
            if declared["containerPort"] not in ports:
                yield int(declared["containerPort"])
