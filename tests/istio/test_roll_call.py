"""Who should come for what: on evidence only, and only who could have by now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from istio.kinds import NODES
from istio.roll_call import Counted, Present, RollCall, SidecarPod, ready_replicas, sidecar_pods
from mesh.topology import ContainerName, ServiceName
from tests.istio.cluster_objects import READY, Body, endpoint, endpoint_slice, node, pod
from tests.istio.seen import cluster_of

SHOP, TILL, WEB, JOB = (ServiceName(f"{name}.default") for name in ("shop", "till", "web", "job"))
WEB_1, WEB_2, JOB_1 = (ContainerName(f"{name}.default") for name in ("web-1", "web-2", "job-1"))
BOTH = frozenset((SHOP, TILL))
HOMES = {WEB_1: WEB, WEB_2: WEB, JOB_1: JOB}
PODS = {name: SidecarPod(f"uid of {name}", 100.0) for name in HOMES}


def present(
    *, callers: Mapping[ServiceName, tuple[ServiceName, ...]] | None = None, **asked: frozenset[ServiceName]
) -> Present:
    """Three ready pods; who asks for what by ``web_1=…``."""
    said = {ContainerName(f"{name.replace('_', '-')}.default"): services for name, services in asked.items()}
    return Present(PODS, HOMES, callers or {}, said)


def missing(now: Present, steered: frozenset[ServiceName] = BOTH, *, since_s: float = 200.0) -> object:
    """Return who is missing after one look."""
    roll = RollCall()
    roll.look(now, steered)
    return roll.missing(since_s=since_s)


def test_nobody_is_missed_without_evidence() -> None:
    """Who has not come and is not known to call may have no such cluster: a Sidecar resource keeps it from it."""
    assert missing(present()) == {}
    assert missing(present(web_1=BOTH, web_2=BOTH)) == {}


def test_a_known_caller_is_missed() -> None:
    """All its sidecars that have not come, whether another has or not; of steered Services alone."""
    calls = {SHOP: (WEB,), TILL: (JOB,), WEB: (JOB,)}
    assert missing(present(callers=calls)) == {SHOP: (WEB_1, WEB_2), TILL: (JOB_1,)}
    assert missing(present(callers=calls, web_1=BOTH), frozenset((SHOP,))) == {SHOP: (WEB_2,)}


def test_one_of_a_workload_that_has_come_is_evidence_for_the_others() -> None:
    """They have the same configuration."""
    assert missing(present(web_1=BOTH, job_1=frozenset((TILL,)))) == {SHOP: (WEB_2,), TILL: (WEB_2,)}


def test_who_became_ready_a_moment_ago_is_not_missed_yet() -> None:
    """And who is not ready is not at all."""
    calls = {SHOP: (WEB,)}
    assert missing(present(callers=calls), since_s=99.0) == {}
    unready = replace(present(callers=calls), pods={**PODS, WEB_1: SidecarPod("1", None)})
    assert missing(unready) == {SHOP: (WEB_2,)}


def test_to_have_come_once_is_enough_until_it_is_another_pod() -> None:
    """A StatefulSet's next pod has the same name, and has to come itself."""
    roll, calls = RollCall(), {SHOP: (WEB,)}
    roll.look(present(callers=calls, web_1=BOTH, web_2=BOTH), BOTH)
    roll.look(present(callers=calls), BOTH)
    away = roll.missing(since_s=200.0)
    reborn = replace(present(callers=calls), pods={**PODS, WEB_1: SidecarPod("another", 150.0)})
    roll.look(reborn, BOTH)

    assert away == {}
    assert roll.missing(since_s=200.0) == {SHOP: (WEB_1,), TILL: (WEB_1,)}


def test_another_pod_that_asks_for_what_the_last_one_asked_for_has_come() -> None:
    """Though what it asks for is the same object as before."""
    roll = RollCall()
    roll.look(present(callers={SHOP: (WEB,)}, web_1=BOTH, web_2=BOTH), BOTH)
    now = present(callers={SHOP: (WEB,)}, web_1=BOTH, web_2=BOTH)
    roll.look(replace(now, pods={**PODS, WEB_1: SidecarPod("another", 150.0)}), BOTH)

    assert roll.missing(since_s=200.0) == {}


def test_a_service_that_is_steered_anew_has_to_be_asked_for_anew() -> None:
    """Who came for the filter before may not come for this one."""
    roll, calls = RollCall(), {SHOP: (WEB,)}
    roll.look(present(callers=calls, web_1=BOTH, web_2=BOTH), BOTH)
    roll.look(present(callers=calls), frozenset((TILL,)))
    roll.look(present(callers=calls, web_2=BOTH), BOTH)

    assert roll.missing(since_s=200.0) == {SHOP: (WEB_1,)}


def test_only_callers_decide_and_only_those_that_were_ready_when_it_began() -> None:
    """A sibling that has come is evidence to show, not to decide by."""
    roll = RollCall()
    roll.look(present(callers={TILL: (WEB,)}, web_1=frozenset((SHOP,))), BOTH)

    assert roll.absent_callers(SHOP, since_s=100.0) == ()
    assert roll.absent_callers(TILL, since_s=100.0) == (WEB_1, WEB_2)
    assert roll.absent_callers(TILL, since_s=99.0) == ()


def test_what_was_handed_over_counts_as_come() -> None:
    """Whom another leader saw, though it is between two replicas just now."""
    roll = RollCall({SHOP: frozenset((WEB_1, JOB_1))})
    roll.look(present(callers={SHOP: (WEB,)}), BOTH)

    assert roll.absent_callers(SHOP, since_s=200.0) == (WEB_2,)
    assert roll.came_for([SHOP, TILL]) == {SHOP: {WEB_1, JOB_1}, TILL: frozenset()}


def test_the_figures_of_a_service() -> None:
    """Ready sidecars that should come, those that have, and those of which nothing says that they should."""
    roll = RollCall()
    roll.look(present(callers={TILL: (JOB,)}, web_1=frozenset((SHOP,))), BOTH)

    assert roll.counts() == {SHOP: Counted(expected=2, came=1, others=1), TILL: Counted(expected=1, came=0, others=2)}


def gateway(name: str) -> Body:
    """Return a gateway's pod as Istio injects it."""
    return pod(name, spec={"containers": [{"name": "istio-proxy", "args": ["proxy", "router", "--domain", "x"]}]})


def native(name: str) -> Body:
    """Return a pod whose sidecar is an init container."""
    sidecar = {"name": "istio-proxy", "args": ["proxy", "sidecar"], "restartPolicy": "Always"}
    return pod(name, spec={"initContainers": [sidecar], "containers": [{"name": "app", "args": ["router"]}]})


def test_which_pods_have_a_sidecar_that_is_concerned() -> None:
    """Native sidecars too; gateways where they are steered; neither pods without one nor pods that have ended."""
    ended = pod("ended")
    ended["status"]["phase"] = "Succeeded"
    cluster = cluster_of(node("n1"), pod("web"), native("new"), pod("bare", sidecar=False), gateway("door"), ended)

    assert sorted(sidecar_pods(cluster, gateways=False)) == ["new.default", "web.default"]
    assert sorted(sidecar_pods(cluster, gateways=True)) == ["door.default", "new.default", "web.default"]


def test_since_when_a_pod_is_ready() -> None:
    """As its kubelet says; not one that is being deleted, whose node is not ready, or unknown."""
    leaving, starting, odd = pod("leaving"), pod("starting"), pod("odd")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z"
    starting["status"]["conditions"] = [READY | {"status": "False"}]
    odd["status"]["conditions"] = [READY | {"lastTransitionTime": "yesterday"}]
    sick = node("n2") | {"status": {"conditions": [READY | {"status": "Unknown"}]}}
    pods = (pod("web"), leaving, starting, odd, pod("far", on="n2"), pod("lost", on="n3"))
    found = sidecar_pods(cluster_of(node("n1"), sick, *pods), gateways=False)

    assert {name.removesuffix(".default"): one.ready_since_s for name, one in found.items()} == {
        "web": 1767225600.0, "leaving": None, "starting": None, "odd": 0.0, "far": None, "lost": None,
    }  # fmt: skip


def test_a_nodes_readiness_makes_no_topology_stale() -> None:
    """It comes and goes in a mesh of thousands of pods; where the node is does concern all."""
    cluster = cluster_of(node("n1", zone="z1"), pod("web"))
    cluster.take_stale()
    sick = cluster_of(node("n1", zone="z1") | {"status": {"conditions": [READY | {"status": "False"}]}}).nodes["n1"]
    cluster.put(NODES, ("", "n1"), sick)
    same = cluster.take_stale()
    cluster.put(NODES, ("", "n1"), replace(sick, labels={}))

    assert (same, cluster.take_stale()[0]) == ((set(), set()), None)


def test_which_replicas_are_ready() -> None:
    """The pods that are ready endpoints of the control plane's Service."""
    ends = [
        endpoint("10.0.0.1", "askew-1"),
        endpoint("10.0.0.2", "askew-2", ready=False),
        endpoint("10.0.0.3", "askew-3", terminating=True),
        endpoint("10.0.0.4"),
    ]
    cluster = cluster_of(endpoint_slice(*ends, of="askew-xds"))

    assert ready_replicas(cluster, ("default", "askew-xds")) == {"askew-1"}
    assert ready_replicas(cluster, ("default", "other")) == frozenset()
