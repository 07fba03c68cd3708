"""One client's whole configuration, from topology and plan."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from google.protobuf import json_format

from mesh.plan import Plan
from mesh.topology import ContainerName, Topology
from tests.xds_server.resources.small_mesh import (
    PAGE,
    REDIS,
    REVIEWS,
    message_of,
    plan_for,
    small_mesh,
    weights_of,
)
from xds_server.consistency import problems
from xds_server.resources.client_config import ClientConfigs
from xds_server.resources.config_source import TRANSPORTS, Transport
from xds_server.resources.names import CDS, EDS, LDS, RDS
from xds_server.snapshot import Snapshot

WHOLE = "outbound|9080||reviews.default.svc.cluster.local"
LOCAL, ZONE, REMOTE = (
    f"outbound|9080|{tier}|reviews.default.svc.cluster.local" for tier in ("local", "zone", "remote")
)


def configure(topology: Topology, plan: Plan | None = None, client: str = PAGE, **how: object) -> Snapshot:
    configs = ClientConfigs(topology, plan or Plan())
    found = configs.snapshot(topology.container_by_name[ContainerName(client)], **how)  # type: ignore[arg-type]
    assert problems(found, looked_at=set()) == []
    return found


def split_of(snapshot: Snapshot, authority: str) -> dict[str, int]:
    """Return cluster to weight of the route that an authority takes."""
    for host in message_of(snapshot.of(RDS)["outbound"]).virtual_hosts:
        if authority in host.domains:
            action = host.routes[0].route
            if action.cluster:
                return {action.cluster: 1}
            return {one.name: one.weight.value for one in action.weighted_clusters.clusters}
    raise AssertionError(f"{authority} leads nowhere")


def test_without_a_plan_it_is_plain_envoy() -> None:
    """All endpoints, equal weights, one cluster, no standbys."""
    snapshot = configure(small_mesh())

    assert split_of(snapshot, "reviews") == {WHOLE: 1}
    assert weights_of(snapshot, WHOLE) == {
        "127.0.1.10:9080": (0, 1),
        "127.0.2.10:9090": (0, 1),
        "127.0.3.10:9080": (0, 1),
        "127.0.3.11:9080": (0, 1),
    }
    assert not message_of(snapshot.of(CDS)[WHOLE]).HasField("outlier_detection")


def test_weighted_clusters_has_a_cluster_for_each_tier() -> None:
    """The route splits by tier, each tier by endpoint; others stand by at priority 1, none on the client's own node."""
    plan = plan_for(REVIEWS, {"reviews-0": 0.5, "reviews-1": 0.25, "reviews-2": 0.2, "reviews-3": 0.05})
    snapshot = configure(small_mesh(), plan)

    assert split_of(snapshot, "reviews.default:9080") == {LOCAL: 5000, ZONE: 2500, REMOTE: 2500}
    assert weights_of(snapshot, LOCAL) == {
        "127.0.1.10:9080": (0, 10_000),
        "127.0.2.10:9090": (1, 1),
        "127.0.3.10:9080": (1, 1),
        "127.0.3.11:9080": (1, 1),
    }
    assert weights_of(snapshot, REMOTE) == {
        "127.0.3.10:9080": (0, 4000),
        "127.0.3.11:9080": (0, 1000),
        "127.0.2.10:9090": (1, 1),
    }
    assert message_of(snapshot.of(CDS)[LOCAL]).HasField("outlier_detection")
    assert WHOLE not in snapshot.of(CDS)


def test_only_tiers_in_use_exist() -> None:
    """All local: one cluster, and the route leads to it without a split."""
    snapshot = configure(small_mesh(), plan_for(REVIEWS, {"reviews-0": 1.0}))

    assert split_of(snapshot, "reviews") == {LOCAL: 1}
    assert {ZONE, REMOTE} & snapshot.of(CDS).keys() == set()


def test_endpoint_weights_has_one_cluster() -> None:
    """What gets no share is left out at priority 0 and stands by at priority 1."""
    plan = plan_for(REVIEWS, {"reviews-0": 0.8, "reviews-2": 0.2}, programming="endpoint-weights")
    snapshot = configure(small_mesh(), plan)

    assert split_of(snapshot, "reviews") == {WHOLE: 1}
    assert weights_of(snapshot, WHOLE) == {
        "127.0.1.10:9080": (0, 10_000),
        "127.0.3.10:9080": (0, 2500),
        "127.0.2.10:9090": (1, 1),
        "127.0.3.11:9080": (1, 1),
    }


def test_a_standby_is_told_apart_by_its_sub_zone() -> None:
    """So that Envoy lets go of the connections of an endpoint that became a standby."""
    snapshot = configure(small_mesh(), plan_for(REVIEWS, {"reviews-0": 1.0}))
    sub_zones = {(one.priority, one.locality.sub_zone) for one in message_of(snapshot.of(EDS)[LOCAL]).endpoints}

    assert sub_zones == {(0, "n1"), (1, "n2/standby"), (1, "n3/standby")}


@pytest.mark.parametrize("how", [{"applied": False}, {"programming": "istio-native"}, {"client": "somebody-else"}])
def test_a_plan_that_is_not_for_this_client(how: dict[str, object]) -> None:
    """Observed only, written elsewhere, or made before the client came: plain Envoy."""
    plan = plan_for(REVIEWS, {"reviews-0": 1.0}, **how)  # type: ignore[arg-type]

    assert split_of(configure(small_mesh(), plan), "reviews") == {WHOLE: 1}


def test_tcp_has_its_own_listener_and_endpoint_weights() -> None:
    """On the client's address and the service's outbound port; a weight in a TCP listener would drain connections."""
    plan = plan_for(REDIS, {"store-0": 0.75, "store-1": 0.25})
    snapshot = configure(small_mesh(), plan)
    name = "outbound|6379||store.data.svc.cluster.local"

    assert "127.0.1.1_16379" in snapshot.of(LDS)
    assert snapshot.of(LDS)["127.0.1.1_16379"].refers == ((CDS, name),)
    assert weights_of(snapshot, name) == {"127.0.2.20:6379": (0, 10_000), "127.0.3.20:6379": (0, 3333)}


def test_a_service_with_several_ports() -> None:
    """A cluster for each; the authority without number leads to the first HTTP one."""
    snapshot = configure(small_mesh())

    assert split_of(snapshot, "store.data") == {"outbound|7000||store.data.svc.cluster.local": 1}
    assert split_of(snapshot, "store.data:7001") == {"outbound|7001||store.data.svc.cluster.local": 1}
    assert "outbound|6379||store.data.svc.cluster.local" in snapshot.of(EDS)


def test_a_service_without_containers_keeps_its_cluster() -> None:
    """Empty, and allowed to be: the source says so."""
    snapshot = configure(small_mesh())
    name = "outbound|80||empty.default.svc.cluster.local"

    assert weights_of(snapshot, name) == {}
    assert snapshot.of(EDS)[name].may_be_empty
    assert split_of(snapshot, "empty") == {name: 1}


def test_a_server_has_only_its_inbound_side() -> None:
    """A service that calls nobody has no outbound listener and no routes."""
    snapshot = configure(small_mesh(), client="reviews-0")

    assert [len(snapshot.of(type_url)) for type_url in (CDS, EDS, LDS, RDS)] == [0, 0, 0, 0]


def test_inbound_stands_before_the_app() -> None:
    """From the sidecar's port to the app's; not where the bootstrap holds it already."""
    snapshot = configure(small_mesh())
    assert snapshot.of(LDS)["inbound|8080"].refers == ((CDS, "inbound|8080||"),)

    without = configure(small_mesh(), inbound=False)
    assert set(without.of(LDS)) == {"outbound", "127.0.1.1_16379"}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_transport_is_consistent(transport: Transport) -> None:
    """Nothing dangles, whatever way the resources come."""
    snapshot = configure(small_mesh(), plan_for(REVIEWS, {"reviews-0": 1.0}), transport=transport)

    assert set(split_of(snapshot, "reviews")) == {LOCAL}


def test_the_same_in_gives_the_same_bytes() -> None:
    """Two replicas, or one after a restart, agree on every version."""
    plan = plan_for(REVIEWS, {"reviews-0": 0.5, "reviews-1": 0.5})
    one, other = configure(small_mesh(), plan), configure(small_mesh(), plan)

    assert one == other
    assert [resource.version for resource in one.all()] == [resource.version for resource in other.all()]


def test_what_did_not_change_is_taken_over() -> None:
    """A change of one service's plan leaves the other services' resources the same objects."""
    topology = small_mesh()
    client = topology.container_by_name[ContainerName(PAGE)]
    first = ClientConfigs(topology, plan_for(REVIEWS, {"reviews-0": 1.0}))
    before = first.snapshot(client)
    plan = plan_for(REVIEWS, {"reviews-0": 0.5, "reviews-1": 0.5})
    after = ClientConfigs(topology, plan, predecessor=first).snapshot(client)
    name = "outbound|7000||store.data.svc.cluster.local"

    assert after.of(EDS)[name] is before.of(EDS)[name]
    assert after.of(EDS)[LOCAL].version != "" != before.of(EDS)[LOCAL].version
    assert after.of(RDS)["outbound"].version != before.of(RDS)["outbound"].version


def test_golden(golden: Callable[[str, str], None]) -> None:
    """One client's whole snapshot as a reviewer reads it (``make golden`` rewrites the file)."""
    plan = plan_for(REVIEWS, {"reviews-0": 0.6, "reviews-1": 0.3, "reviews-2": 0.1})
    snapshot = configure(small_mesh(), plan)
    whole = {
        type_url.rsplit(".", 1)[1]: {
            one.name: json_format.MessageToDict(message_of(one), preserving_proto_field_name=True)
            for one in sorted(snapshot.of(type_url).values(), key=lambda one: one.name)
        }
        for type_url in (CDS, EDS, LDS, RDS)
    }

    golden("client_snapshot.json", json.dumps(whole, indent=1, sort_keys=True) + "\n")


def test_an_outbound_address_moves_what_an_app_sends_to() -> None:
    """In a pod the app and its sidecar share loopback: there the outbound listeners stand, the inbound ones do not."""
    mesh = small_mesh()
    services = tuple(
        replace(one, containers=tuple(replace(c, outbound_address="127.0.0.1") for c in one.containers))
        for one in mesh.services
    )
    snapshot = configure(replace(mesh, services=services))

    address = message_of(snapshot.of(LDS)["outbound"]).address.socket_address
    assert (address.address, address.port_value) == ("127.0.0.1", 15001)
    assert {"127.0.0.1_16379", "inbound|8080"} <= set(snapshot.of(LDS))
