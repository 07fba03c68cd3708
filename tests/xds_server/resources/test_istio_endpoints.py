"""What a sidecar of Istio's is told of the endpoints of istiod's clusters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from envoy.config.endpoint.v3 import endpoint_pb2

from mesh.istio_facts import EndpointFacts, IstioFacts
from mesh.plan import Plan
from mesh.topology import ContainerName, ServiceName, Topology
from tests.xds_server.resources.small_mesh import REVIEWS, message_of, plan_for, small_mesh, weights_of
from xds_server.consistency import problems
from xds_server.resources import istio_endpoints
from xds_server.resources.istio_endpoints import IstioEndpoints
from xds_server.resources.names import CDS, EDS, LDS, RDS
from xds_server.snapshot import Snapshot

SIDECAR = "page-0.default"
WHOLE = "outbound|9080||reviews.default.svc.cluster.local"
V1, V2 = (f"outbound|9080|{subset}|reviews.default.svc.cluster.local" for subset in ("v1", "v2"))
ALL = ("127.0.1.10:9080", "127.0.2.10:9090", "127.0.3.10:9080", "127.0.3.11:9080")
VERSIONS = {"reviews-0": "v1", "reviews-1": "v1", "reviews-2": "v2", "reviews-3": "v2"}


def istio_mesh(*, ejecting: tuple[str, ...] = ()) -> Topology:
    """Return the small mesh with subsets v1 and v2 of reviews, and mTLS on its first container."""
    facts = {
        ContainerName(name): EndpointFacts(
            labels={"app": "reviews", "version": version},
            takes_mtls=name == "reviews-0",
            workload=f"reviews-{version};default;reviews;{version};Kubernetes",
        )
        for name, version in VERSIONS.items()
    }
    subsets = {"v1": {"version": "v1"}, "v2": {"version": "v2"}, "v9": {"version": "v9"}}
    istio = IstioFacts(facts, {ServiceName("reviews.default"): subsets}, frozenset(ejecting))
    return replace(small_mesh(), istio=istio)


def answered(topology: Topology, plan: Plan | None = None, *names: str, proxy: str = SIDECAR) -> Snapshot:
    """Return the snapshot of a sidecar after it asked for ``names``, found good."""
    snapshot = IstioEndpoints(topology, plan or Plan()).snapshot(proxy)
    assert all(name in snapshot.of(EDS) for name in names)
    assert problems(snapshot, looked_at=set()) == []
    return snapshot


def test_a_service_that_is_not_steered_is_answered_as_istiod_would() -> None:
    """All ready endpoints with equal weights, and nothing of the types that are istiod's own."""
    snapshot = answered(istio_mesh(), None, WHOLE)

    assert weights_of(snapshot, WHOLE) == dict.fromkeys(ALL, (0, 1))
    assert [len(snapshot.of(kind)) for kind in (CDS, LDS, RDS)] == [0, 0, 0]


def test_a_plan_gives_the_weights() -> None:
    """In the ratio of the shares; what has no share is left out, and nothing stands by without outlier detection."""
    plan = plan_for(REVIEWS, {"reviews-0": 0.8, "reviews-2": 0.2})

    assert weights_of(answered(istio_mesh(), plan, WHOLE), WHOLE) == {ALL[0]: (0, 10_000), ALL[2]: (0, 2500)}


def test_standbys_only_where_envoy_ejects() -> None:
    """Priority 1 takes over from ejected endpoints, so it needs outlier detection in the cluster's DestinationRule."""
    plan = plan_for(REVIEWS, {"reviews-0": 1.0})
    snapshot = answered(istio_mesh(ejecting=(WHOLE,)), plan, WHOLE)

    assert weights_of(snapshot, WHOLE) == {ALL[0]: (0, 10_000), **dict.fromkeys(ALL[1:], (1, 1))}


def test_a_subset_has_its_own_endpoints() -> None:
    """Labels choose them, and the client's shares of them keep their ratio."""
    plan = plan_for(REVIEWS, {"reviews-0": 0.6, "reviews-1": 0.3, "reviews-2": 0.1})
    snapshot = answered(istio_mesh(), plan, V1, V2)

    assert weights_of(snapshot, V1) == {ALL[0]: (0, 10_000), ALL[1]: (0, 5000)}
    assert weights_of(snapshot, V2) == {ALL[2]: (0, 10_000)}


def test_a_subset_that_the_plan_leaves_out_is_never_empty() -> None:
    """A route that leads to it is Istio's to decide: all of its ready endpoints."""
    plan = plan_for(REVIEWS, {"reviews-0": 1.0})

    assert weights_of(answered(istio_mesh(), plan, V2), V2) == {ALL[2]: (0, 1), ALL[3]: (0, 1)}


def test_invented_names_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Subsets, ports and domains can be written without end: past what there is and some more they are nothing.

    What is really there is answered all the same, and nothing is kept for each invention.
    """
    monkeypatch.setattr(istio_endpoints, "MOST_INVENTED", 5)
    endpoints = IstioEndpoints(istio_mesh(), Plan())
    snapshot = endpoints.snapshot(SIDECAR)
    known = [cluster.subset for cluster in endpoints._clusters() if cluster.service == "reviews.default"]
    assert known == ["", "v1", "v2", "v9"]
    for number in range(1000):
        snapshot.of(EDS)[f"outbound|9080|x{number}|reviews.default.svc.cluster.local"]
        snapshot.of(EDS)[f"outbound|9080||stranger-{number}.default.svc.cluster.local"]
    other = endpoints.snapshot("page-1.default")

    assert weights_of(other, WHOLE) == dict.fromkeys(ALL, (0, 1))
    assert len(snapshot.of(EDS)) == endpoints.most_names
    assert len(endpoints._plain) <= endpoints.most_names
    assert len(endpoints._frames) == 1


def test_sidecars_that_nobody_knows_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate of a namespace may take any name in it, one after the other."""
    monkeypatch.setattr(istio_endpoints, "MOST_STRANGERS", 5)
    topology = istio_mesh()
    first = IstioEndpoints(topology, Plan())
    own = first.snapshot(SIDECAR)
    for number in range(1000):
        weights_of(first.snapshot(f"ghost-{number}.default"), WHOLE)
    second = IstioEndpoints(topology, Plan(generation=2), predecessor=first)

    assert len(first._answers) <= len(topology.container_by_proxy_id) + 5
    assert first.snapshot(SIDECAR) is own
    assert set(second._before) <= set(topology.container_by_proxy_id)


def test_a_subset_that_nobody_defines_is_the_whole_service() -> None:
    """As istiod has it: without labels to look for, every endpoint fits."""
    name = "outbound|9080|unheard-of|reviews.default.svc.cluster.local"

    assert weights_of(answered(istio_mesh(), None, name), name) == dict.fromkeys(ALL, (0, 1))


@pytest.mark.parametrize(
    "name",
    [
        "outbound|9080||stranger.default.svc.cluster.local",
        "outbound|9999||reviews.default.svc.cluster.local",
        "outbound|9080|v9|reviews.default.svc.cluster.local",
        "outbound|443||example.com",
        "inbound|9080||",
        "what",
    ],
)
def test_a_name_without_endpoints_is_answered_empty(name: str) -> None:
    """Unknown, or a subset without endpoints: an empty assignment of that very name, so that nothing waits for it."""
    one = answered(istio_mesh(), None, name).of(EDS)[name]

    assert message_of(one) == endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    assert one.may_be_empty


@pytest.mark.parametrize("shares", [{"reviews-0": 0.5, "reviews-1": 0.5}, dict.fromkeys(VERSIONS, 0.25)])
def test_weights_are_never_all_equal(shares: dict[str, float]) -> None:
    """One is a ten-thousandth lighter: with equal ones LEAST_REQUEST would make two random choices."""
    weights = [
        weight for _, weight in weights_of(answered(istio_mesh(), plan_for(REVIEWS, shares), WHOLE), WHOLE).values()
    ]

    assert sorted(weights) == [9999] + [10_000] * (len(shares) - 1)


def test_metadata_is_istiods() -> None:
    """tlsMode where a sidecar takes mTLS, and the workload; byte for byte what protobuf writes."""
    message = message_of(answered(istio_mesh(), None, WHOLE).of(EDS)[WHOLE])
    again = message.SerializeToString(deterministic=True)
    found = {
        one.endpoint.address.socket_address.address: {
            key: dict(value.items()) for key, value in one.metadata.filter_metadata.items()
        }
        for group in message.endpoints
        for one in group.lb_endpoints
    }

    workload = {"istio": {"workload": "reviews-v1;default;reviews;v1;Kubernetes"}}
    assert found["127.0.1.10"] == {"envoy.transport_socket_match": {"tlsMode": "istio"}, **workload}
    assert found["127.0.2.10"] == workload
    assert again == answered(istio_mesh(), None, WHOLE).of(EDS)[WHOLE].body


def test_localities_are_regions_and_zones_with_the_sum_of_their_weights() -> None:
    """Right also under locality-weighted balancing, where a locality without a weight gets nothing."""
    plan = plan_for(REVIEWS, {"reviews-0": 0.5, "reviews-1": 0.25, "reviews-2": 0.25})
    message = message_of(answered(istio_mesh(), plan, WHOLE).of(EDS)[WHOLE])

    found = [(one.locality.region, one.locality.zone, one.load_balancing_weight.value) for one in message.endpoints]
    assert found == [("r1", "z1", 15_000), ("r1", "z2", 5000)]


def test_a_sidecar_that_the_topology_does_not_know_is_answered() -> None:
    """A pod that has just come, a job, a gateway: equal weights, at once."""
    plan = plan_for(REVIEWS, {"reviews-0": 1.0})
    snapshot = answered(istio_mesh(), plan, WHOLE, proxy="job-x7f2.batch")

    assert weights_of(snapshot, WHOLE) == dict.fromkeys(ALL, (0, 1))


@pytest.mark.parametrize("how", [{"applied": False}, {"programming": "istio-native"}])
def test_a_plan_that_is_only_observed_changes_nothing(how: dict[str, Any]) -> None:
    """Observe mode, and a plan that goes the native way."""
    plan = plan_for(REVIEWS, {"reviews-0": 1.0}, **how)

    assert weights_of(answered(istio_mesh(), plan, WHOLE), WHOLE) == dict.fromkeys(ALL, (0, 1))


def test_what_a_sidecar_asks_for_later_is_answered_by_the_newest_plan() -> None:
    """Also where nothing that it had asked for has changed, so that it still has its old snapshot."""
    topology = istio_mesh()
    first = IstioEndpoints(topology, Plan())
    snapshot = first.snapshot(SIDECAR)
    IstioEndpoints(topology, plan_for(REVIEWS, {"reviews-0": 1.0}), predecessor=first)

    assert weights_of(snapshot, WHOLE) == {ALL[0]: (0, 10_000)}


def test_an_answer_that_cannot_have_changed_is_the_same_object() -> None:
    """The plan of another service is a new one; the answers for this one are taken over."""
    topology, plan = istio_mesh(), plan_for(REVIEWS, {"reviews-0": 1.0})
    first = IstioEndpoints(topology, plan)
    before = first.snapshot(SIDECAR).of(EDS)[WHOLE]
    second = IstioEndpoints(topology, Plan(2, dict(plan.services)), predecessor=first)

    assert second.snapshot(SIDECAR).of(EDS)[WHOLE] is before


def test_who_has_endpoints_of_a_service_that_is_gone_keeps_them() -> None:
    """istiod takes the cluster away; until then an empty one would answer 503. A newcomer is told that it is empty."""
    topology = istio_mesh()
    first = IstioEndpoints(topology, Plan())
    assert WHOLE in first.snapshot(SIDECAR).of(EDS)
    without = replace(
        topology, services=tuple(one for one in topology.services if one.name != "reviews.default"), calls=()
    )
    second = IstioEndpoints(without, Plan(), predecessor=first)

    assert WHOLE not in second.snapshot(SIDECAR).of(EDS)
    assert second.snapshot("late-0.default").of(EDS)[WHOLE].may_be_empty


def test_a_service_that_was_unknown_is_answered_when_it_comes() -> None:
    """The empty answer was for the moment; the next topology has its endpoints."""
    topology = istio_mesh()
    without = replace(topology, services=topology.services[:1], calls=())
    first = IstioEndpoints(without, Plan())
    assert first.snapshot(SIDECAR).of(EDS)[WHOLE].may_be_empty
    second = IstioEndpoints(topology, Plan(), predecessor=first)

    assert weights_of(second.snapshot(SIDECAR), WHOLE) == dict.fromkeys(ALL, (0, 1))


def test_a_pinned_service_is_answered_by_the_earlier_configuration() -> None:
    """Proxies refused the present answers: they get those of before until the service changes again."""
    topology = istio_mesh()
    good = IstioEndpoints(topology, plan_for(REVIEWS, {"reviews-0": 1.0}))
    bad = plan_for(REVIEWS, {"reviews-1": 1.0})
    pinned = IstioEndpoints(topology, bad, predecessor=good, pinned={REVIEWS: good})

    assert weights_of(pinned.snapshot(SIDECAR), WHOLE) == {ALL[0]: (0, 10_000)}


def test_two_replicas_answer_with_the_same_versions() -> None:
    """So that a sidecar which changes replica is sent nothing."""
    plan = plan_for(REVIEWS, {"reviews-0": 0.5, "reviews-3": 0.5})
    one, other = answered(istio_mesh(), plan, WHOLE, V1), answered(istio_mesh(), plan, WHOLE, V1)

    assert [one.of(EDS)[name].version for name in (WHOLE, V1)] == [other.of(EDS)[name].version for name in (WHOLE, V1)]


def test_what_is_made_ahead_answers_the_same() -> None:
    """Steps can stop anywhere: what is ready is used, the rest is made when it is asked for; the bytes are equal."""
    plan = plan_for(REVIEWS, {"reviews-0": 0.8, "reviews-2": 0.2})
    names, lazily = (WHOLE, V1, V2), IstioEndpoints(istio_mesh(), plan)
    wanted = [lazily.snapshot(SIDECAR).of(EDS)[name].body for name in names]
    for steps in range(len(list(IstioEndpoints(istio_mesh(), plan).preparing())) + 1):
        ahead = IstioEndpoints(istio_mesh(), plan)
        for _ in zip(range(steps), ahead.preparing(), strict=False):
            pass
        assert [ahead.snapshot(SIDECAR).of(EDS)[name].body for name in names] == wanted


def moved(mesh: Topology) -> Topology:
    """Put a node into another zone."""
    nodes = [replace(node, zone="elsewhere") if node.name == "n1" else node for node in mesh.nodes]
    return replace(mesh, nodes=tuple(nodes))


def without_mtls(mesh: Topology) -> Topology:
    """Take the sidecar in front of a container away."""
    facts = {name: replace(one, takes_mtls=False) for name, one in mesh.istio.endpoints.items()}
    return replace(mesh, istio=replace(mesh.istio, endpoints=facts))


def one_fewer(mesh: Topology) -> Topology:
    """Take one container away."""
    services = [replace(one, containers=one.containers[1:]) if one.containers else one for one in mesh.services]
    return replace(mesh, services=tuple(services))


@pytest.mark.parametrize("change", [moved, without_mtls, one_fewer, replace])
def test_what_is_taken_over_from_another_topology_is_right_for_the_new_one(
    change: Callable[[Topology], Topology],
) -> None:
    """Zones, mTLS and endpoints are the newest; the bytes are those of one that begins from nothing."""
    before, after = IstioEndpoints(istio_mesh(), Plan()), change(istio_mesh())
    list(before.preparing())
    following = IstioEndpoints(after, Plan(), predecessor=before).snapshot(SIDECAR).of(EDS)
    anew = IstioEndpoints(after, Plan()).snapshot(SIDECAR).of(EDS)
    assert [following[name].body for name in (WHOLE, V1, V2)] == [anew[name].body for name in (WHOLE, V1, V2)]


def test_a_client_that_is_not_planned_for_is_answered() -> None:
    """Who is not known to call has no row in the plan: all ready endpoints at once, and its row when it is learnt."""
    mesh = istio_mesh()
    first = IstioEndpoints(mesh, plan_for(REVIEWS, {"reviews-0": 1.0}, client="page-1"))
    before = first.snapshot(SIDECAR)
    assert weights_of(before, WHOLE) == dict.fromkeys(ALL, (0, 1))
    learnt = IstioEndpoints(mesh, plan_for(REVIEWS, {"reviews-0": 1.0}), predecessor=first).snapshot(SIDECAR)
    assert weights_of(learnt, WHOLE) == {ALL[0]: (0, 10_000)}
