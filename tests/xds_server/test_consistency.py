"""A snapshot that would break traffic is found before it is served."""

from __future__ import annotations

from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from google.protobuf import wrappers_pb2

from xds_server.consistency import problems
from xds_server.resources.names import CDS, EDS, RDS
from xds_server.snapshot import Resource, resource, snapshot


def _assignment(name: str, *weights: int, priority: int = 0, may_be_empty: bool = False) -> Resource:
    group = endpoint_components_pb2.LocalityLbEndpoints(priority=priority)
    for weight in weights:
        group.lb_endpoints.add(load_balancing_weight=wrappers_pb2.UInt32Value(value=weight))
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=name, endpoints=[group] if weights else [])
    return resource(EDS, name, message.SerializeToString(), may_be_empty=may_be_empty)


def _cluster(name: str) -> Resource:
    return resource(CDS, name, b"", refers=((EDS, name),))


def _routes(*domains: str, weights: tuple[int, ...] = (1,), names: tuple[str, ...] = ()) -> Resource:
    weighted = route_components_pb2.WeightedCluster()
    for weight in weights:
        weighted.clusters.add(name="c", weight=wrappers_pb2.UInt32Value(value=weight))
    route = route_components_pb2.Route(route=route_components_pb2.RouteAction(weighted_clusters=weighted))
    hosts = [route_components_pb2.VirtualHost(name=d, domains=[d], routes=[route]) for d in domains]
    body = route_pb2.RouteConfiguration(name="r", virtual_hosts=hosts).SerializeToString()
    return resource(RDS, "r", body, refers=[(CDS, name) for name in names])


def _found(*resources: Resource) -> list[str]:
    return problems(snapshot(resources), looked_at=set())


def test_a_good_snapshot_has_no_problem() -> None:
    """Every name exists, weights are sane."""
    assert _found(_cluster("c"), _assignment("c", 1, 10_000), _routes("a", "b", names=("c",))) == []


def test_a_cluster_without_endpoints_resource_is_named() -> None:
    """The message says who names what."""
    assert _found(_cluster("c")) == ["Cluster 'c' names the ClusterLoadAssignment 'c', which is not in the snapshot"]


def test_a_route_to_a_cluster_that_does_not_exist_is_named() -> None:
    """Also from routes to clusters, which not every control plane looks at."""
    (found,) = _found(_routes("a", names=("gone",)))
    assert "'gone'" in found


def test_resources_that_nothing_names_are_allowed() -> None:
    """A superset serves clients that ask for it."""
    assert _found(_assignment("spare", 1)) == []


def test_the_last_endpoint_is_not_taken_away() -> None:
    """Empty is refused, unless the source itself says so."""
    assert _found(_assignment("c")) == ["ClusterLoadAssignment 'c' has no endpoint left"]
    assert _found(_assignment("c", may_be_empty=True)) == []


def test_weights_must_be_positive_and_of_a_sane_ratio() -> None:
    """0, a sum above 2^32 - 1 and an absurd ratio are refused, each with the figure."""
    assert "a weight of 0" in _found(_assignment("c", 0, 1))[0]
    assert "sum to 4294967296" in _found(_assignment("c", 2**31, 2**31))[0]
    assert "from 1 to 1000000" in _found(_assignment("c", 1, 1_000_000))[0]


def test_priorities_have_no_gap() -> None:
    """Envoy refuses an assignment whose priorities skip a number."""
    assert "priorities [1]" in _found(_assignment("c", 1, priority=1))[0]


def test_routes_of_no_weight_or_a_domain_twice_are_refused() -> None:
    """Envoy would refuse both, and with them the whole route configuration."""
    assert "sum to 0" in _found(_routes("a", weights=(0, 0)))[0]
    assert "domain 'a' twice" in _found(_routes("a", "a"))[0]


def test_bytes_that_are_no_message_are_refused() -> None:
    """What a client could not parse is not sent to it."""
    assert _found(resource(EDS, "c", b"\xff\xff")) == ["ClusterLoadAssignment 'c' cannot be parsed"]


def test_a_body_is_parsed_once() -> None:
    """A version that was good is not looked at again; a bad one is, each time."""
    seen: set[str] = set()
    good, bad = _assignment("c", 1), _assignment("d")
    problems(snapshot([good, bad]), looked_at=seen)
    assert seen == {good.version}
