"""A cluster's objects as a topology."""

from __future__ import annotations

import pytest

from istio.kinds import DESTINATION_RULES
from istio.service_piece import TopologySettings
from istio.topology import topology_of
from mesh.topology import NodeName
from tests.istio.cluster_objects import (
    destination_rule,
    endpoint,
    endpoint_slice,
    namespace,
    node,
    peer_authentication,
    pod,
    service,
)
from tests.istio.seen import addresses, cluster_of, container, seen, service_in


def test_an_endpoint_is_a_container() -> None:
    """Its name, node, address and port come from the slice and the Pod."""
    found = seen(
        node("n1", zone="z1", region="r1"),
        service(ports=[{"name": "http", "port": 80, "targetPort": "web"}]),
        pod("a", ip="10.0.0.7"),
        endpoint_slice(endpoint("10.0.0.7", "a"), ports={"http": 8080}),
    )
    (only,) = service_in(found).containers

    assert (only.name, only.node, only.address, only.ports) == ("a.default", "n1", "10.0.0.7", {80: 8080})
    assert only.proxy_id == "a.default"
    assert found.topology.node_by_name[NodeName("n1")].zone == "z1"


@pytest.mark.parametrize(
    ("conditions", "taken"),
    [
        ({"ready": True}, True),
        ({"ready": False}, False),
        ({"ready": False, "serving": True, "terminating": True}, False),
        ({"ready": True, "terminating": True}, False),
    ],
)
def test_trap_7_readiness_is_as_istiods(conditions: dict[str, bool], taken: bool) -> None:
    """Unready and terminating endpoints are not there, also while they still serve."""
    found = seen(service(), pod("a"), endpoint_slice(endpoint("10.0.0.1", "a", **conditions)))

    assert addresses(found) == (["10.0.0.1"] if taken else [])


def test_conditions_that_are_not_said_mean_ready() -> None:
    """As the EndpointSlice API says of ``nil``."""
    bare = {"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": "a", "namespace": "default"}}

    assert addresses(seen(service(), pod("a"), endpoint_slice(bare))) == ["10.0.0.1"]


def test_addresses_that_are_not_ready_may_be_published() -> None:
    """The slice controller calls them ready; that they terminate then does not count."""
    asked = service(spec={"publishNotReadyAddresses": True})
    found = seen(asked, pod("a"), endpoint_slice(endpoint("10.0.0.1", "a", ready=True, terminating=True)))

    assert addresses(found) == ["10.0.0.1"]


def test_an_endpoint_waits_for_its_pod() -> None:
    """Without the Pod nobody knows whether it takes mTLS; with none known, all are taken rather than none."""
    both = endpoint_slice(endpoint("10.0.0.1", "a"), endpoint("10.0.0.2", "b"))

    assert addresses(seen(service(), pod("a"), both)) == ["10.0.0.1"]
    assert addresses(seen(service(), both)) == ["10.0.0.1", "10.0.0.2"]


def test_an_endpoint_in_two_slices_counts_once() -> None:
    """Slices are rearranged one at a time."""
    first = endpoint_slice(endpoint("10.0.0.1", "a"), name="one")
    second = endpoint_slice(endpoint("10.0.0.1", "a"), name="two")

    assert addresses(seen(service(), pod("a"), first, second)) == ["10.0.0.1"]


@pytest.mark.parametrize(("families", "expected"), [(["IPv4", "IPv6"], "10.0.0.1"), (["IPv6", "IPv4"], "fd00::1")])
def test_of_two_families_the_services_first_counts(families: list[str], expected: str) -> None:
    """A container has one address."""
    old = endpoint_slice(endpoint("10.0.0.1", "a"), name="four")
    new = endpoint_slice(endpoint("fd00::1", "a"), name="six", family="IPv6")

    assert addresses(seen(service(spec={"ipFamilies": families}), pod("a"), old, new)) == [expected]


def test_a_family_without_endpoints_gives_way() -> None:
    """Better the second family than nothing."""
    six = endpoint_slice(endpoint("fd00::1", "a"), family="IPv6")

    assert addresses(seen(service(spec={"ipFamilies": ["IPv4", "IPv6"]}), pod("a"), six)) == ["fd00::1"]


@pytest.mark.parametrize(
    ("port", "protocol"),
    [
        ({"name": "http-web"}, "http"),
        ({"name": "grpc"}, "grpc"),
        ({"name": "grpc-web-ui"}, "http"),
        ({"name": "tcp-thrift"}, "tcp"),
        ({"name": "https"}, "tcp"),
        ({"name": "web"}, "http"),
        ({"name": "web", "port": 3306}, "tcp"),
        ({"name": "http", "appProtocol": "redis"}, "tcp"),
        ({"name": "x", "appProtocol": "kubernetes.io/h2c"}, "http"),
        ({"name": "GRPC-Upper"}, "grpc"),
    ],
)
def test_protocols_are_told_as_istio_tells_them(port: dict[str, object], protocol: str) -> None:
    """``appProtocol`` first, then the name's first part, then ports that everyone knows."""
    found = seen(service(ports=[{"port": 9080, "protocol": "TCP"} | port]))

    assert service_in(found).ports[0].protocol == protocol


def test_udp_is_not_a_port_of_the_mesh() -> None:
    """Sidecars pass it by."""
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "tcp-dns", "port": 53, "protocol": "TCP"}]

    assert [port.name for port in service_in(seen(service(ports=ports))).ports] == ["tcp-dns"]


def test_a_pod_of_two_services_is_a_client_once() -> None:
    """Under the first Service with a cluster IP; it is an endpoint of both."""
    found = seen(
        service("a", spec={"clusterIP": "None"}),
        service("b"),
        service("c"),
        pod("p"),
        *(endpoint_slice(endpoint("10.0.0.1", "p"), of=name) for name in ("a", "b", "c")),
    )

    assert [service_in(found, f"{name}.default").containers[0].is_client for name in ("a", "b", "c")] == [
        False,
        True,
        False,
    ]
    assert len(found.topology.clients_of[service_in(found, "c.default").name]) == 1


def test_pods_that_serve_nobody_are_clients_of_their_workload() -> None:
    """A load generator calls, though no Service leads to it; one without a sidecar does not follow us."""
    found = seen(
        pod("load-x-1", owner=("ReplicaSet", "load-x"), labels={"pod-template-hash": "x"}),
        pod("bare", sidecar=False, ip="10.0.0.2"),
    )

    assert [(one.name, [c.name for c in one.containers]) for one in found.topology.services] == [
        ("workload:load.default", ["load-x-1.default"])
    ]


def test_a_pod_on_the_hosts_network_says_so() -> None:
    """As an endpoint and as a client: what it counts of bytes is the node's."""
    on_host = {"hostNetwork": True}
    found = seen(
        service(), endpoint_slice(endpoint("10.0.0.1", "a")), pod("a", spec=on_host), pod("b", spec=on_host), pod("c")
    )

    assert [container(found, f"{name}.default").on_host_network for name in "abc"] == [True, True, False]


def test_an_endpoint_without_a_sidecar_is_no_client() -> None:
    """Its requests do not follow us."""
    found = seen(service(), pod("a", sidecar=False), endpoint_slice(endpoint("10.0.0.1", "a")))

    assert found.topology.clients_of[service_in(found).name] == ()


def test_without_istio_every_pod_may_be_ours() -> None:
    """Plain Envoy sidecars leave no annotation."""
    cluster = cluster_of(service(), pod("a", sidecar=False), endpoint_slice(endpoint("10.0.0.1", "a")))
    cluster.set_absent(DESTINATION_RULES, absent=True)

    assert container(topology_of(cluster, TopologySettings()), "a.default").is_client


def test_pods_of_one_name_in_two_namespaces_are_two() -> None:
    """Names are unique in a namespace only."""
    found = seen(
        service(),
        service(namespace="shop"),
        pod("a"),
        pod("a", namespace="shop", ip="10.0.0.2"),
        endpoint_slice(endpoint("10.0.0.1", "a")),
        endpoint_slice(endpoint("10.0.0.2", "a", namespace="shop"), namespace="shop"),
    )

    assert {one.proxy_id for one in found.topology.container_by_name.values()} == {"a.default", "a.shop"}


def test_a_node_that_is_not_told_of_yet_is_there() -> None:
    """An endpoint may come before its Node; the slice knows its zone."""
    one = endpoint("10.0.0.1", "a", on="new") | {"zone": "z9"}

    assert seen(service(), pod("a"), endpoint_slice(one)).topology.nodes[0].zone == "z9"


def test_places_come_from_a_nodes_labels() -> None:
    """Today's names, the old ones, and Istio's subzone."""
    labels = {"failure-domain.beta.kubernetes.io/zone": "old", "topology.istio.io/subzone": "rack"}
    (found,) = seen(node("n1", region="r", **labels)).topology.nodes

    assert (found.zone, found.region, found.subzone) == ("old", "r", "rack")


def test_annotations_of_a_service_are_its_policy() -> None:
    """Inside Istio the programming is by endpoint weights."""
    policy = service_in(seen(service(routing="local-first", connections="3"))).policy

    assert (policy.routing, policy.connections, policy.programming) == ("local-first", 3, "endpoint-weights")


@pytest.mark.parametrize(
    ("of_namespace", "of_service", "expected"),
    [
        ("off", "apply", "off"),
        ("observe", "apply", "observe"),
        ("apply", "observe", "observe"),
        ("observe", "off", "off"),
    ],
)
def test_of_two_modes_the_stricter_holds(of_namespace: str, of_service: str, expected: str) -> None:
    """A Namespace's ``off`` is a kill switch for all in it."""
    found = seen(namespace(mode=of_namespace), service(routing="uniform", mode=of_service))

    assert service_in(found).policy.mode == expected


def test_a_pod_says_its_capacity() -> None:
    """And a wrong one is told, without refusing the Service."""
    found = seen(
        service(routing="uniform"),
        pod("a", capacity="2.5", best_effort="true"),
        pod("b", ip="10.0.0.2", capacity="much"),
        endpoint_slice(endpoint("10.0.0.1", "a"), endpoint("10.0.0.2", "b")),
    )

    assert [(one.capacity, one.best_effort) for one in service_in(found).containers] == [(2.5, True), (1.0, False)]
    assert service_in(found).policy.routing == "uniform"
    ((finding,),) = found.findings.values()
    assert "pod b" in str(finding)
    assert not finding.refuses


def facts(*bodies: dict[str, object]) -> object:
    """Return what Istio's side knows of pod ``a``."""
    found = seen(node("n1", zone="z1"), service(), endpoint_slice(endpoint("10.0.0.1", "a")), *bodies)
    return found.topology.istio.endpoints[container(found, "a.default").name]


@pytest.mark.parametrize(
    ("rules", "takes"),
    [
        ([], True),
        ([peer_authentication("STRICT")], True),
        ([peer_authentication("DISABLE", namespace="istio-system")], False),
        ([peer_authentication("DISABLE", namespace="istio-system"), peer_authentication("PERMISSIVE")], True),
        ([peer_authentication("UNSET"), peer_authentication("DISABLE", namespace="istio-system")], False),
        ([peer_authentication("DISABLE", name="w", selector={"app": "other"})], True),
        ([peer_authentication("DISABLE", name="w", selector={"app": "a"})], False),
        ([peer_authentication("STRICT", name="w", selector={"app": "a"}, p9080="DISABLE")], False),
        ([peer_authentication("DISABLE", name="w", selector={"app": "a"}, p9080="STRICT")], True),
        ([peer_authentication("DISABLE", name="w", namespace="istio-system", selector={"app": "a"})], True),
    ],
)
def test_mtls_is_told_as_istiod_tells_it(rules: list[dict[str, object]], takes: bool) -> None:
    """The injector's label, unless the nearest PeerAuthentication disables it: workload, namespace, mesh."""
    assert facts(pod("a", labels={"app": "a"}), *rules).takes_mtls_on(9080) is takes  # type: ignore[attr-defined]


def test_a_pod_without_a_sidecar_takes_no_mtls() -> None:
    """The injector's label is not there."""
    assert not facts(pod("a", sidecar=False)).takes_mtls_on(9080)  # type: ignore[attr-defined]


def test_workload_and_labels_are_as_istiods() -> None:
    """For telemetry, and for subsets by node or zone."""
    labels = {"app": "reviews", "version": "v2", "pod-template-hash": "x"}
    found = facts(pod("a", labels=labels, owner=("ReplicaSet", "reviews-v2-x")))

    assert found.workload == "reviews-v2;default;reviews;v2;Kubernetes"  # type: ignore[attr-defined]
    assert found.labels["kubernetes.io/hostname"] == "n1"  # type: ignore[attr-defined]
    assert found.labels["topology.kubernetes.io/zone"] == "z1"  # type: ignore[attr-defined]


def test_subsets_and_ejection_come_from_destination_rules() -> None:
    """By the host as its namespace resolves it; a subset's policy lies over the host's."""
    rule = destination_rule(
        {
            "trafficPolicy": {"outlierDetection": {}},
            "subsets": [
                {"name": "v1", "labels": {"version": "v1"}},
                {
                    "name": "v2",
                    "labels": {"version": "v2"},
                    "trafficPolicy": {"portLevelSettings": [{"port": {"number": 9080}}]},
                },
            ],
        }
    )
    istio = seen(service(), rule).topology.istio

    assert istio.subsets == {"reviews.default": {"v1": {"version": "v1"}, "v2": {"version": "v2"}}}
    host = "reviews.default.svc.cluster.local"
    assert istio.ejecting == {f"outbound|9080||{host}", f"outbound|9080|v1|{host}"}
