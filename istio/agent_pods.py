"""Where the nodes' agents are: the pods of their DaemonSet. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from istio.cluster import Cluster
from mesh.topology import NodeName


@dataclass(frozen=True, slots=True)
class AgentPods:
    """Which pods are agents: by a label, in our own namespace only, where nobody else may make pods."""

    namespace: str = "askew-system"
    label: str = "app.kubernetes.io/name"
    value: str = "askew-enforcer"
    port: int = 18100


def agent_addresses(cluster: Cluster, agents: AgentPods) -> dict[NodeName, str]:
    """Return each node's agent as ``HOST:PORT``. O(pods).

    Of two on one node (one of them is about to go) the later by name is taken.
    """
    found: dict[NodeName, str] = {}
    for key in sorted(key for key in cluster.pods if key[0] == agents.namespace):
        pod = cluster.pods[key]
        if pod.labels.get(agents.label) == agents.value and pod.addresses and pod.node and not pod.ended:
            host = pod.addresses[0]
            found[NodeName(pod.node)] = f"[{host}]:{agents.port}" if ":" in host else f"{host}:{agents.port}"
    return found
