"""Topology files: what is shipped has the sample applications' edges, and a bad file is refused in one line."""

from __future__ import annotations

import pytest

from lab.application import Application, OperationCall
from lab.errors import LabError
from lab.topology_file import load_application, names, parse_application, shipped_file
from mesh.errors import BadInputError

BOOKINFO = "productpage>details productpage>reviews reviews>ratings"
CHAIN = "first>second second>third third>fourth"
BOUTIQUE = """
frontend>adservice frontend>cartservice frontend>checkoutservice frontend>currencyservice
frontend>productcatalogservice frontend>recommendationservice frontend>shippingservice
checkoutservice>cartservice checkoutservice>currencyservice checkoutservice>emailservice
checkoutservice>paymentservice checkoutservice>productcatalogservice checkoutservice>shippingservice
recommendationservice>productcatalogservice cartservice>redis-cart
"""
HOTEL = """
frontend>search frontend>reservation frontend>profile frontend>recommendation frontend>user search>geo search>rate
geo>mongodb-geo rate>memcached-rate rate>mongodb-rate profile>memcached-profile profile>mongodb-profile
reservation>memcached-reserve reservation>mongodb-reservation recommendation>mongodb-recommendation user>mongodb-user
"""
SOCIAL_NETWORK = """
nginx-thrift>home-timeline-service nginx-thrift>user-timeline-service nginx-thrift>compose-post-service
nginx-thrift>social-graph-service nginx-thrift>user-service
compose-post-service>text-service compose-post-service>user-service compose-post-service>media-service
compose-post-service>unique-id-service compose-post-service>post-storage-service
compose-post-service>user-timeline-service compose-post-service>home-timeline-service
text-service>url-shorten-service text-service>user-mention-service
home-timeline-service>post-storage-service home-timeline-service>social-graph-service
user-timeline-service>post-storage-service social-graph-service>user-service user-service>social-graph-service
post-storage-service>post-storage-memcached post-storage-service>post-storage-mongodb
user-timeline-service>user-timeline-redis user-timeline-service>user-timeline-mongodb
home-timeline-service>home-timeline-redis social-graph-service>social-graph-redis
social-graph-service>social-graph-mongodb url-shorten-service>url-shorten-memcached
url-shorten-service>url-shorten-mongodb user-service>user-memcached user-service>user-mongodb
user-mention-service>user-memcached user-mention-service>user-mongodb
"""
MEDIA = """
nginx-web-server>unique-id-service nginx-web-server>movie-id-service nginx-web-server>text-service
nginx-web-server>user-service movie-id-service>compose-review-service movie-id-service>rating-service
rating-service>compose-review-service unique-id-service>compose-review-service text-service>compose-review-service
user-service>compose-review-service compose-review-service>review-storage-service
compose-review-service>user-review-service compose-review-service>movie-review-service
user-review-service>review-storage-service movie-review-service>review-storage-service
movie-id-service>movie-id-memcached movie-id-service>movie-id-mongodb user-service>user-memcached
user-service>user-mongodb rating-service>rating-redis compose-review-service>compose-review-memcached
review-storage-service>review-storage-memcached review-storage-service>review-storage-mongodb
user-review-service>user-review-redis user-review-service>user-review-mongodb
movie-review-service>movie-review-redis movie-review-service>movie-review-mongodb
"""
EDGES = {
    "bookinfo": BOOKINFO,
    "chain": CHAIN,
    "online-boutique": BOUTIQUE,
    "hotel": HOTEL,
    "social-network": SOCIAL_NETWORK,
    "media": MEDIA,
}
SMALL = """
apiVersion: askew.lab/v1
nodes: [n1, n2]
load: {service: a, requests_per_s: 10, mix: {get: 1}, nodes: {n1: 3, n2: 1}}
services:
  - {name: a, port: 80, replicas: [{nodes: {n1: 1}}], operations: {get: [[{to: b}]]}}
  - {name: b, port: 80, replicas: [{nodes: {n1: 1, n2: 1}}]}
"""


def shipped(name: str) -> Application:
    return load_application(shipped_file(name))


def test_every_file_that_is_shipped_is_known_here() -> None:
    """A new topology comes with its edges written down twice: in its file and in this test."""
    assert set(names()) == set(EDGES)


@pytest.mark.parametrize("name", EDGES)
def test_edges_are_those_of_the_sample_application(name: str) -> None:
    """Who calls whom is what the application's own source says."""
    assert {f"{client}>{server}" for client, server in shipped(name).edges} == set(EDGES[name].split())


@pytest.mark.parametrize("name", EDGES)
def test_placement_is_uneven(name: str) -> None:
    """On every shipped mesh some service stands unevenly: otherwise staying local would need no plan."""
    application = shipped(name)
    counts = [
        [sum(replica.node == node for replica in replicas) for node in application.nodes]
        for replicas in application.replicas_of.values()
    ]

    assert any(len(set(per_node)) > 1 for per_node in counts)


def test_reviews_v1_calls_nobody() -> None:
    """Bookinfo's reviews come in three versions, and only v2 and v3 ask for ratings."""
    reviews = shipped("bookinfo").replicas_of["reviews"]

    assert {replica.name for replica in reviews if replica.leaf} == {"reviews-v1-0", "reviews-v1-1"}
    assert {replica.name.split("-")[1] for replica in reviews} == {"v1", "v2", "v3"}


def test_compose_post_asks_four_services_at_once_and_then_one_after_the_other() -> None:
    """A step's calls are parallel, steps are in a row: socialNetwork's compose has 4, then 1, 1, 1."""
    steps = shipped("social-network").service_by_name["compose-post-service"].operations["get"]

    assert [len(step) for step in steps] == [4, 1, 1, 1]


def test_weights_of_the_load_become_fractions() -> None:
    """Mix and nodes are weights in the file and fractions in the value."""
    assert parse_application(SMALL, name="small").load.nodes == {"n1": 0.75, "n2": 0.25}


def test_an_operation_may_be_left_out_where_there_is_one() -> None:
    """``{to: b}`` means b's only operation."""
    assert parse_application(SMALL, name="small").service_by_name["a"].operations["get"] == (
        (OperationCall("b", "get"),),
    )


def test_an_unknown_application_is_refused_with_the_names() -> None:
    """Whoever mistypes an application reads which there are."""
    with pytest.raises(LabError, match=r"found 'bookinfos', allowed: bookinfo \| chain"):
        shipped_file("bookinfos")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("nodes: [n1, n2]", "nodes: []", "nodes: found a list, allowed: 1 to 9 names"),
        ("{to: b}", "{to: c}", "services[0].operations.get[0][0].to: found 'c', allowed: a service of this file"),
        ("{to: b}", "{to: b, operation: put}", "operations.get[0][0].operation: found 'put', allowed: one of get"),
        ("{to: b}", "{to: b, times: 0}", "services[0].operations.get[0][0].times: found 0, allowed: an integer"),
        ("{to: b}", "{to: b, probability: 2}", "probability: found 2, allowed: a number > 0 and <= 1"),
        ("{to: b}", "{to: a}", "found 'a/get -> a/get', allowed: operations that do not call round in a circle"),
        ("mix: {get: 1}", "mix: {put: 1}", "load.mix: found 'put', allowed: operations of the entry service: get"),
        ("mix: {get: 1}", "mix: []", "load.mix: found a list, allowed: a mapping of names to weights"),
        ("nodes: {n1: 3, n2: 1}", "nodes: {n3: 1}", "load.nodes.n3: found 'n3', allowed: the keys n1, n2"),
        ("service: a,", "service: z,", "load.service: found 'z', allowed: one of a, b"),
        ("name: b, port: 80", "name: b, port: 15001", "services[1].port: found 15001, allowed: a port other than"),
        ("name: b, port: 80", "name: load, port: 80", "services[1].name: found 'load', allowed: another name"),
        ("name: b, port: 80", "name: a, port: 80", "services: found 'a name twice', allowed: each service once"),
        ("[{nodes: {n1: 1, n2: 1}}]", "[{nodes: {n3: 1}}]", "replicas[0].nodes.n3: found 'n3', allowed: the keys"),
        ("[{nodes: {n1: 1, n2: 1}}]", "[]", "services[1].replicas: found 'b', allowed: one replica or more"),
        ("[{nodes: {n1: 1, n2: 1}}]", "[{nodes: {n1: 1}, leaf: 1}]", "leaf: found 1, allowed: True | False"),
    ],
)
def test_a_bad_file_is_refused_where_it_is_bad(old: str, new: str, message: str) -> None:
    """Every mistake names its place, what was found and what is allowed."""
    assert old in SMALL
    with pytest.raises(BadInputError) as refused:
        parse_application(SMALL.replace(old, new, 1), name="small")

    assert message in str(refused.value)
