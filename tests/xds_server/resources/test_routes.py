"""Routes: which authorities lead where, split how, and what is tried again."""

from __future__ import annotations

from envoy.config.route.v3 import route_components_pb2, route_pb2
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from mesh.topology import Port, Service, ServiceName
from xds_server.resources.routes import route_configuration_bytes, virtual_host_bytes

REVIEWS = Service(ServiceName("reviews.default"), ports=(Port(9080),))
SEVERAL = Service(ServiceName("db.data"), ports=(Port(1, "tcp"), Port(7000, "grpc"), Port(7001)))


def authorities(service: Service, port: Port, *, same_namespace: bool) -> list[str]:
    """Return the domains of the virtual host that leads to a port."""
    body = virtual_host_bytes(service, port, [("c", 1)], same_namespace=same_namespace)
    return list(route_components_pb2.VirtualHost.FromString(body).domains)


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=200)


def host(clusters: list[tuple[str, int]]) -> route_components_pb2.VirtualHost:
    body = virtual_host_bytes(REVIEWS, REVIEWS.ports[0], clusters, same_namespace=True)
    return route_components_pb2.VirtualHost.FromString(body)


@given(st.lists(st.tuples(names, st.integers(1, 10_000)), min_size=1, max_size=3, unique_by=lambda pair: pair[0]))
def test_the_split_is_what_was_given(clusters: list[tuple[str, int]]) -> None:
    """One cluster is the target itself; several are weighted."""
    (route,) = host(clusters).routes

    assert route.match == route_components_pb2.RouteMatch(prefix="/")
    if len(clusters) == 1:
        assert route.route.cluster == clusters[0][0]
    else:
        found = [(one.name, one.weight.value) for one in route.route.weighted_clusters.clusters]
        assert found == clusters


def test_nothing_that_an_app_has_seen_is_tried_again() -> None:
    """As Istio's users expect: no timeout, retries only of what never reached an app, on another endpoint."""
    action = json_format.MessageToDict(host([("c", 1)]).routes[0].route, preserving_proto_field_name=True)

    assert action["timeout"] == "0s"
    assert action["max_stream_duration"] == {"max_stream_duration": "0s", "grpc_timeout_header_max": "0s"}
    retry = action["retry_policy"]
    assert set(retry["retry_on"].split(",")) == {
        "connect-failure",
        "refused-stream",
        "reset-before-request",
        "retriable-headers",
    }
    assert retry["retriable_headers"] == [{"name": "x-askew-unreached", "present_match": True}]
    assert retry["retry_host_predicate"][0]["name"] == "envoy.retry_host_predicates.previous_hosts"


def test_authorities() -> None:
    """Short, with namespace, with svc, full; each with and without the port."""
    assert authorities(REVIEWS, REVIEWS.ports[0], same_namespace=True) == [
        "reviews.default.svc.cluster.local",
        "reviews.default",
        "reviews.default.svc",
        "reviews",
        "reviews.default.svc.cluster.local:9080",
        "reviews.default:9080",
        "reviews.default.svc:9080",
        "reviews:9080",
    ]


def test_the_bare_name_belongs_to_the_own_namespace() -> None:
    """Another namespace's service is reached by its full name only."""
    assert "reviews" not in authorities(REVIEWS, REVIEWS.ports[0], same_namespace=False)


def test_an_authority_without_number_leads_to_the_first_http_port() -> None:
    """TCP ports do not count; the second port has its number only."""
    grpc, http = SEVERAL.ports[1:]

    assert "db.data" in authorities(SEVERAL, grpc, same_namespace=False)
    assert authorities(SEVERAL, http, same_namespace=False) == [
        "db.data.svc.cluster.local:7001",
        "db.data:7001",
        "db.data.svc:7001",
    ]


def test_a_configuration_holds_its_hosts_in_order() -> None:
    """Spliced as protobuf would; clusters are not validated, since they come before by the order of the wire."""
    hosts = [host([("a", 1)]), host([("b", 1), ("c", 2)])]
    body = route_configuration_bytes(one.SerializeToString() for one in hosts)
    found = route_pb2.RouteConfiguration.FromString(body)

    assert found.name == "outbound"
    assert list(found.virtual_hosts) == hosts
    assert found.HasField("validate_clusters")
    assert not found.validate_clusters.value
