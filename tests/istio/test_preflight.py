"""Every trap that concerns objects: the Service is refused with its reason and left to Istio."""

from __future__ import annotations

import pytest

from istio.preflight import Finding
from istio.service_piece import TopologySettings
from istio.topology import topology_of
from tests.istio.cluster_objects import (
    Body,
    destination_rule,
    endpoint,
    endpoint_slice,
    namespace,
    pod,
    service,
    virtual_service,
)
from tests.istio.seen import cluster_of, seen, service_in

GOOD = (pod("a", owner=("ReplicaSet", "a-x")), endpoint_slice(endpoint("10.0.0.1", "a")))


def found_for(asked: Body, *others: Body) -> list[Finding]:
    """Return the findings for the Service ``reviews``; it is steered exactly if none of them refuses."""
    found = seen(asked, *(others or GOOD))
    findings = list(found.findings.get(service_in(found).name, ()))
    steered = service_in(found).policy.routing != "off"
    assert steered == (not any(one.refuses for one in findings))
    return findings


def annotated(**changed: object) -> Body:
    """Return ``reviews`` with routing ``uniform``."""
    return service(**({"routing": "uniform"} | changed))  # type: ignore[arg-type]


def traps(asked: Body, *others: Body) -> list[str]:
    """Return the names of the traps."""
    return [one.trap for one in found_for(asked, *others)]


def rule(spec: Body, **where: str) -> tuple[Body, ...]:
    """Return the good endpoints and a DestinationRule."""
    return (*GOOD, destination_rule(spec, **where))


def test_an_ordinary_service_is_steered() -> None:
    """Nothing stands against it."""
    assert traps(annotated()) == []


def test_a_service_without_annotation_is_not_looked_at() -> None:
    """Whatever it is."""
    found = seen(service(spec={"clusterIP": "None", "sessionAffinity": "ClientIP"}), *GOOD)

    assert found.findings == {}
    assert not service_in(found).policy.managed


def test_trap_non_eds_cluster_headless() -> None:
    """Its clusters are ORIGINAL_DST: a patch of their endpoints' source would break them."""
    assert traps(annotated(spec={"clusterIP": "None"})) == ["headless"]


def test_trap_non_eds_cluster_external_name() -> None:
    """Its clusters are DNS."""
    asked = annotated(spec={"type": "ExternalName", "externalName": "example.com", "clusterIP": None, "selector": None})

    assert traps(asked) == ["external-name"]


def test_trap_service_without_selector() -> None:
    """Its endpoints are someone else's."""
    assert traps(annotated(spec={"selector": None})) == ["no-selector"]


def test_trap_no_tcp_port() -> None:
    """Istio does not balance UDP."""
    asked = annotated(ports=[{"name": "dns", "port": 53, "protocol": "UDP"}])

    assert traps(asked, pod("a"), endpoint_slice(endpoint("10.0.0.1", "a"), ports={"dns": 53})) == ["no-tcp-port"]


@pytest.mark.parametrize(
    "others",
    [
        (*GOOD, namespace(labels={"istio.io/dataplane-mode": "ambient"})),
        (*GOOD, namespace(labels={"istio.io/use-waypoint": "waypoint"})),
        (pod("a", labels={"istio.io/dataplane-mode": "ambient"}), GOOD[1]),
        (pod("a", annotations={"ambient.istio.io/redirection": "enabled"}), GOOD[1]),
    ],
    ids=["namespace", "waypoint", "pod label", "redirected pod"],
)
def test_trap_ambient(others: tuple[Body, ...]) -> None:
    """HBONE endpoints need metadata that only istiod gives."""
    assert traps(annotated(), *others) == ["ambient"]


def test_no_waypoint_said_aloud_is_none() -> None:
    """``none`` opts out."""
    assert traps(annotated(), *GOOD, namespace(labels={"istio.io/use-waypoint": "none"})) == []


def test_trap_multi_network() -> None:
    """Endpoints of another network are reached over gateways."""
    other = pod("b", ip="10.0.0.2", labels={"topology.istio.io/network": "other"})
    root = namespace("istio-system", labels={"topology.istio.io/network": "here"})

    assert traps(
        annotated(), GOOD[0], other, root, endpoint_slice(endpoint("10.0.0.1", "a"), endpoint("10.0.0.2", "b"))
    ) == ["multi-network"]


def test_trap_multi_network_gateway() -> None:
    """A gateway between networks tells of a second one."""
    gateway = service("eastwest", namespace="istio-system", labels={"topology.istio.io/network": "there"})
    root = namespace("istio-system", labels={"topology.istio.io/network": "here"})

    assert traps(annotated(), *GOOD, gateway, root) == ["multi-network"]


def test_one_network_is_fine() -> None:
    """Its name does not matter."""
    gateway = service("eastwest", namespace="istio-system", labels={"topology.istio.io/network": "here"})
    root = namespace("istio-system", labels={"topology.istio.io/network": "here"})

    assert traps(annotated(), *GOOD, gateway, root) == []


def test_trap_multi_cluster() -> None:
    """Slices that another controller makes lead to other clusters."""
    foreign = endpoint_slice(endpoint("10.9.0.1"), name="far", managed_by="mcs-controller")

    assert traps(annotated(), *GOOD, foreign) == ["multi-cluster"]


def test_trap_host_network_servers() -> None:
    """Sidecars do not capture the host's network."""
    assert traps(annotated(), pod("a", spec={"hostNetwork": True}), GOOD[1]) == ["host-network"]


@pytest.mark.parametrize(
    ("balancer", "trap"),
    [
        ({"consistentHash": {"httpHeaderName": "x-user"}}, ["consistent-hash"]),
        ({"simple": "RANDOM"}, ["balancer"]),
        ({"simple": "PASSTHROUGH"}, ["balancer"]),
        ({"simple": "LEAST_REQUEST"}, []),
        ({"simple": "ROUND_ROBIN"}, []),
        ({"localityLbSetting": {"distribute": [{"from": "r/*", "to": {"r/*": 100}}]}}, ["locality-setting"]),
    ],
)
def test_trap_lb_policy(balancer: Body, trap: list[str]) -> None:
    """Only LEAST_REQUEST and ROUND_ROBIN heed weights; two who say what is near are one too many."""
    assert traps(annotated(), *rule({"trafficPolicy": {"loadBalancer": balancer}})) == trap


def test_trap_lb_policy_of_a_subset_or_port() -> None:
    """Each cluster is looked at, not the host alone."""
    subset = {"name": "v1", "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}}
    port = {"port": {"number": 9080}, "loadBalancer": {"consistentHash": {"useSourceIp": True}}}

    assert traps(annotated(), *rule({"subsets": [subset]})) == ["balancer"]
    assert traps(annotated(), *rule({"trafficPolicy": {"portLevelSettings": [port]}})) == ["consistent-hash"]


def test_trap_lb_policy_of_a_wildcard_host() -> None:
    """A rule for the whole namespace holds where the Service has none of its own."""
    spec = {"trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}}

    assert traps(annotated(), *rule(spec, host="*.default.svc.cluster.local")) == ["balancer"]


def test_trap_subsets_that_mean_two_things() -> None:
    """Which rule a client has depends on its namespace; endpoints do not."""
    one = destination_rule({"subsets": [{"name": "v1", "labels": {"version": "v1"}}]})
    host = "reviews.default.svc.cluster.local"
    other = destination_rule({"subsets": [{"name": "v1", "labels": {"track": "x"}}]}, namespace="shop", host=host)

    assert traps(annotated(), *GOOD, one, other) == ["clashing-subsets"]


def test_trap_session_affinity() -> None:
    """Shares move clients between endpoints."""
    assert traps(annotated(spec={"sessionAffinity": "ClientIP"})) == ["session-affinity"]


def test_trap_publish_not_ready_addresses() -> None:
    """Endpoints that are not ready would get shares."""
    assert traps(annotated(spec={"publishNotReadyAddresses": True})) == ["publish-not-ready"]


def test_trap_stateful_set_names() -> None:
    """Its pods are not of equal rank."""
    assert traps(annotated(), pod("a-0", owner=("StatefulSet", "a")), endpoint_slice(endpoint("10.0.0.1", "a-0"))) == [
        "stateful-set"
    ]


@pytest.mark.parametrize(
    ("changed", "trap"),
    [
        ({"spec": {"trafficDistribution": "PreferClose"}}, "traffic-distribution"),
        ({"spec": {"trafficDistribution": "PreferSameNode"}}, "traffic-distribution"),
        ({"spec": {"internalTrafficPolicy": "Local"}}, "internal-traffic-policy"),
        ({"annotations": {"service.kubernetes.io/topology-mode": "Auto"}}, "topology-annotation"),
        ({"annotations": {"service.kubernetes.io/topology-aware-hints": "auto"}}, "topology-annotation"),
        ({"annotations": {"networking.istio.io/traffic-distribution": "PreferClose"}}, "topology-annotation"),
    ],
)
def test_trap_other_settings_of_what_is_near(changed: dict[str, Body], trap: str) -> None:
    """Two settings that both say which endpoints are near."""
    assert traps(annotated(**changed)) == [trap]


@pytest.mark.parametrize("policy", ["Cluster", ""])
def test_harmless_settings_of_what_is_near(policy: str) -> None:
    """The default, said aloud."""
    annotations = {"service.kubernetes.io/topology-mode": "Disabled"}

    assert traps(annotated(spec={"internalTrafficPolicy": policy}, annotations=annotations)) == []


def test_trap_weighted_clusters_inside_istio() -> None:
    """Routes and clusters are istiod's."""
    assert traps(annotated(programming="weighted-clusters")) == ["programming"]


@pytest.mark.parametrize("other", [destination_rule({}), virtual_service("reviews")], ids=["rule", "route"])
def test_trap_native_beside_rules_of_others(other: Body) -> None:
    """Istio honours one rule and one route for a host."""
    assert traps(annotated(programming="istio-native"), *GOOD, other) == ["rules-of-others"]


@pytest.mark.parametrize("asked", [annotated(), annotated(programming="endpoint-weights")])
def test_mode_native_is_every_services(asked: Body) -> None:
    """Then rules of others stand against each, whether it names the way itself or not."""
    native = TopologySettings(programming="istio-native")
    found = topology_of(cluster_of(asked, *GOOD, destination_rule({})), native)

    assert [one.trap for many in found.findings.values() for one in many] == ["rules-of-others"]


@pytest.mark.parametrize("own", [destination_rule({}), virtual_service("reviews")], ids=["rule", "route"])
def test_our_own_rules_do_not_stand_against_us(own: Body) -> None:
    """What mode native wrote is no other's: the Service would be refused, given back, and taken again, for ever."""
    own = {**own, "metadata": {**own["metadata"], "labels": {"app.kubernetes.io/managed-by": "askew"}}}

    assert traps(annotated(programming="istio-native"), *GOOD, own) == []


def test_trap_endpoints_without_a_port() -> None:
    """A named target port that some pods do not have."""
    ports = [{"name": "http", "port": 80}, {"name": "admin", "port": 81}]
    whole = endpoint_slice(endpoint("10.0.0.1", "a"), ports={"http": 8080, "admin": 8081})
    partial = endpoint_slice(endpoint("10.0.0.2", "b"), name="other", ports={"http": 8080})

    assert traps(annotated(ports=ports), GOOD[0], pod("b", ip="10.0.0.2"), whole, partial) == ["port-missing"]


@pytest.mark.parametrize(
    ("asked", "others", "said"),
    [
        (
            service(routing="nearest"),
            GOOD,
            "metadata.annotations[askew.mesh/routing]: found 'nearest', allowed: off | uniform",
        ),
        (service(routing="uniform", connections="0"), GOOD, "allowed: an integer >= 1, all, or auto"),
        (service(rooting="uniform"), GOOD, "allowed: one of askew.mesh/routing"),
        (
            annotated(),
            (*GOOD, namespace(mode="Off")),
            "namespace default: metadata.annotations[askew.mesh/mode]: found 'Off'",
        ),
    ],
)
def test_trap_wrong_annotation(asked: Body, others: tuple[Body, ...], said: str) -> None:
    """The Service is left as Istio has it, and told what is allowed."""
    (finding,) = found_for(asked, *others)

    assert finding.trap == "wrong-annotation"
    assert said in str(finding)


def test_everything_that_stands_against_it_is_told_at_once() -> None:
    """A person mends all in one go."""
    asked = annotated(spec={"clusterIP": "None", "sessionAffinity": "ClientIP", "internalTrafficPolicy": "Local"})

    assert traps(asked) == ["headless", "session-affinity", "internal-traffic-policy"]
