"""Which objects a cluster should hold, where that is not a matter of one Service."""

from __future__ import annotations

from istio.cluster import Cluster
from istio.integration import Integration
from istio.kinds import PODS
from istio.pruning import key_of, prune
from istio.wanted import needing_bootstrap, sidecar_namespaces, wanted_objects
from mesh.plan import Plan
from mesh.topology import Topology
from tests.istio.cluster_objects import pod


def test_namespaces_of_sidecars_are_those_of_pods_that_have_not_started_too() -> None:
    """Such a pod may wait for the very ConfigMap. Pods that have ended, or have no sidecar, need none."""
    waiting = pod("new", namespace="web")
    waiting["status"] = {"phase": "Pending"}
    done = pod("job", namespace="batch")
    done["status"]["phase"] = "Succeeded"
    cluster = Cluster()
    for body in (pod("a", namespace="shop"), waiting, done, pod("bare", namespace="plain", sidecar=False)):
        cluster.put(PODS, key_of(body), prune(PODS, body))

    assert sidecar_namespaces(cluster) == {"shop", "web"}


def test_pods_that_cannot_start_without_the_configmap_are_counted() -> None:
    """Those that name ours and have not ended; another's ConfigMap is another's affair."""
    override = "sidecar.istio.io/bootstrapOverride"
    done = pod("job", namespace="batch", annotations={override: "askew-bootstrap"})
    done["status"]["phase"] = "Succeeded"
    cluster = Cluster()
    for body in (
        done,
        pod("a", namespace="shop", annotations={override: "askew-bootstrap"}),
        pod("b", namespace="shop", annotations={override: "askew-bootstrap"}),
        pod("c", namespace="web", annotations={override: "their-own"}),
        pod("d", namespace="web"),
    ):
        cluster.put(PODS, key_of(body), prune(PODS, body))

    assert needing_bootstrap(cluster) == {"shop": 2}


def test_mode_bootstrap_is_there_before_the_first_service_is_annotated() -> None:
    """So that client pods can be restarted first, and find the way when a Service is annotated."""
    found = wanted_objects(Integration(mode="bootstrap"), Topology(), Plan(), client_namespaces={"web", "shop"})

    assert [one["metadata"]["namespace"] for one in found] == ["shop", "web"]
    assert wanted_objects(Integration(), Topology(), Plan(), client_namespaces={"web"}) == []
