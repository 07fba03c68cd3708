"""What each node's agent should know, and where the agents are, from a cluster's objects."""

from __future__ import annotations

from typing import Any

import pytest

from istio.agent_pods import AgentPods, agent_addresses
from istio.kinds import DESTINATION_RULES, PODS
from istio.node_containers import NodeLists, node_lists, runtime_id_of
from istio.objects import Pod
from istio.pruning import prune
from mesh.node_containers import NodeContainer
from mesh.policy import Slo
from mesh.topology import ContainerName, NodeName
from tests.istio.cluster_objects import Body, endpoint, endpoint_slice, namespace, node, pod, service
from tests.istio.seen import cluster_of, seen

WEB_ID, JOB_ID = "ab" * 32, "cd" * 32
P95 = Slo(95.0, 50.0)


def running(body: Body, runtime_id: str, *, container: str = "app", state: str = "running") -> Body:
    """Return a pod with one container as the kubelet reports it."""
    body["spec"]["containers"] = [{"name": container}]
    body["status"]["containerStatuses"] = [
        {"name": container, "containerID": f"containerd://{runtime_id}", "state": {state: {}}}
    ]
    return body


def web(**more: Any) -> Body:
    return running(pod("web-0", ip="10.0.0.7", **more), WEB_ID)


def lists(*bodies: Body, slo: str = "p95=50ms", has_istio: bool = True, **annotations: str) -> NodeLists:
    """Return the lists of a cluster with these objects and a Service ``web`` of the pod ``web-0``."""
    asked = {"slo": slo} if slo else {}
    cluster = cluster_of(
        service("web", **(asked | annotations)), endpoint_slice(endpoint("10.0.0.7", "web-0"), of="web"), *bodies
    )
    cluster.set_absent(DESTINATION_RULES, absent=not has_istio)
    return node_lists(cluster)


def test_a_pod_of_a_service_with_an_objective_is_told_to_its_node() -> None:
    """By its name in the mesh and its runtime's id; routing need not be ours."""
    assert lists(web()).of == {NodeName("n1"): (NodeContainer("web-0.default", WEB_ID, slo=P95),)}  # type: ignore[arg-type]
    assert lists(web(), slo="").of == {}


def test_a_pod_that_is_not_ready_yet_is_told_too() -> None:
    """It takes resources while it starts, and a busy one may be unready."""
    cluster = cluster_of(
        service("web", slo="p95=50ms"), endpoint_slice(endpoint("10.0.0.7", "web-0", ready=False), of="web"), web()
    )

    assert len(node_lists(cluster).of[NodeName("n1")]) == 1


def test_the_page_of_its_latency() -> None:
    """The app's own where it is named; else our sidecar's; inside Istio, whose buckets are too coarse, none."""
    named = "9090/metrics?x=1#request_seconds"
    found = {
        (has_istio, metrics): lists(web(), has_istio=has_istio, **({"latency_metrics": metrics} if metrics else {}))
        for has_istio in (True, False)
        for metrics in ("", named)
    }
    urls = {key: one.of[NodeName("n1")][0].latency_url for key, one in found.items()}

    assert urls == {
        (True, ""): "",
        (False, ""): "http://10.0.0.7:15090/stats/prometheus?filter=downstream_rq_time",
        (True, named): "http://10.0.0.7:9090/metrics?x=1#request_seconds",
        (False, named): "http://10.0.0.7:9090/metrics?x=1#request_seconds",
    }


def test_an_ipv6_address_is_written_as_urls_have_it() -> None:
    """In brackets."""
    body = running(pod("web-0", ip="fd00::7"), WEB_ID)

    (only,) = lists(body, latency_metrics="80/m").of[NodeName("n1")]
    assert only.latency_url == "http://[fd00::7]:80/m"


def test_best_effort_is_said_by_the_pod() -> None:
    """It needs no Service, and has no objective even where its Service has one."""
    job = running(pod("job-0", on="n2", best_effort="true"), JOB_ID)
    found = lists(web(best_effort="true"), job).of

    assert found == {
        NodeName("n1"): (NodeContainer("web-0.default", WEB_ID, best_effort=True),),  # type: ignore[arg-type]
        NodeName("n2"): (NodeContainer("job-0.default", JOB_ID, best_effort=True),),  # type: ignore[arg-type]
    }


@pytest.mark.parametrize("mode", ["observe", "off"])
def test_the_kill_switch_holds_on_nodes_too(mode: str) -> None:
    """On the Service, or on its Namespace; for best-effort pods as well."""
    assert lists(web(), mode=mode).of == {}
    assert lists(web(), namespace(mode=mode)).of == {}
    assert lists(web(best_effort="true"), mode=mode).of == {}
    assert lists(running(pod("job-0", best_effort="true"), JOB_ID), namespace(mode=mode)).of == {}


@pytest.mark.parametrize(
    "body",
    [
        running(pod("web-0"), WEB_ID, state="waiting"),
        running(pod("web-0", on=""), WEB_ID),
        running(pod("web-0"), "no id"),
        pod("web-0"),
        web() | {"status": web()["status"] | {"phase": "Failed"}},
    ],
    ids=["waiting", "not scheduled", "unreadable id", "no status", "ended"],
)
def test_what_does_not_run_is_not_told(body: Body) -> None:
    """There is no control group to limit."""
    assert lists(body).of == {}


def test_wrong_annotations_are_told_and_tell_nothing() -> None:
    """A Service's are the preflight's to tell; a pod's are told here, and the default is used."""
    assert lists(web(), slo="fast").of == {}
    found = lists(web(best_effort="maybe"))

    assert found.of[NodeName("n1")][0].slo == P95
    (line,) = found.wrong
    assert line.startswith(
        "pod web-0.default: annotations[askew.mesh/best-effort]: found 'maybe', allowed: true | false"
    )


def test_of_several_services_with_objectives_the_home_service_counts() -> None:
    """Whatever order they came in; only one can."""
    slices = [endpoint_slice(endpoint("10.0.0.7", "web-0"), of=name) for name in ("a", "web")]
    headless = service("a", slo="p99=1s", spec={"clusterIP": "None"})
    cluster = cluster_of(headless, service("web", slo="p95=50ms"), web(), *slices)

    assert node_lists(cluster).of[NodeName("n1")][0].slo == P95


@pytest.mark.parametrize(
    ("names", "annotation", "found"),
    [
        (["app", "istio-proxy"], "", "app"),
        (["istio-proxy", "app"], "", "app"),
        (["askew-sidecar", "helper", "app"], "app", "app"),
        (["helper", "app"], "gone", "helper"),
        (["istio-proxy"], "", ""),
    ],
)
def test_the_apps_container_of_a_pod(names: list[str], annotation: str, found: str) -> None:
    """The one that ``kubectl`` means, or else the first that is no proxy; statuses come sorted by name."""
    said = {"kubectl.kubernetes.io/default-container": annotation} if annotation else {}
    body = pod("web-0", annotations=said)
    ids = {name: f"{index:064x}" for index, name in enumerate(names)}
    body["spec"]["containers"] = [{"name": name} for name in names]
    body["status"]["containerStatuses"] = [
        {"name": name, "containerID": f"cri-o://{ids[name]}", "state": {"running": {"startedAt": "now"}}}
        for name in sorted(names)
    ]
    known = prune(PODS, body)

    assert isinstance(known, Pod)
    assert known.container_id == ids.get(found, "")


def agent(name: str, on: str, ip: str, **more: Any) -> Body:
    more = {"namespace": "askew-system", "labels": {"app.kubernetes.io/name": "askew-enforcer"}} | more
    return pod(name, on=on, ip=ip, sidecar=False, **more)


def test_agents_are_the_pods_of_the_daemon_set() -> None:
    """By label and in our namespace; one of another namespace could be anybody's."""
    cluster = cluster_of(
        agent("e1", "n1", "10.0.0.2"),
        agent("e2", "n2", "fd00::2"),
        agent("e3", "n3", "10.0.0.3", namespace="default"),
        agent("e4", "n4", "10.0.0.4", labels={"app.kubernetes.io/name": "other"}),
        agent("e5", "", "10.0.0.5"),
    )

    assert agent_addresses(cluster, AgentPods()) == {"n1": "10.0.0.2:18100", "n2": "[fd00::2]:18100"}


def test_a_node_of_the_topology_has_its_agent() -> None:
    """As in a mesh file; it comes and goes with the pod."""
    with_agent = seen(node("n1"), node("n2"), agent("e1", "n1", "10.0.0.2")).topology
    without = seen(node("n1"), node("n2")).topology

    assert [one.agent for one in with_agent.nodes] == ["10.0.0.2:18100", ""]
    assert [one.agent for one in without.nodes] == ["", ""]


def test_an_agent_finds_any_pod_by_its_runtimes_id() -> None:
    """Whether it is on a list or not; a pod that does not run yet, or that is gone, has none."""
    cluster = cluster_of(web(), pod("new-0", ip="10.0.0.9"))
    names = [ContainerName(f"{name}.default") for name in ("web-0", "new-0", "gone-0")]
    assert [runtime_id_of(cluster, name) for name in names] == [WEB_ID, "new-0.default", "gone-0.default"]
