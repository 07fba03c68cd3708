"""The EnvoyFilters, and what istiod's merge makes of them on the real protos."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import yaml
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import config_source_pb2

from istio.envoy_filters import bootstrap_config, render, service_filter
from istio.integration import FINALIZER, LABELS, Integration, SteeredService
from mesh.topology import ServiceName
from tests.fakes.istiod_config import IstioService, clusters
from tests.fakes.istiod_merge import merge, patched, read_cluster

TO = Integration()
REVIEWS = SteeredService(ServiceName("reviews.shop"))
ISTIOS = IstioService("reviews.shop", 9080, [("10.0.0.1", 9080)], subsets=("v1", "v2"))
OTHER = IstioService("ratings.shop", 9080, [("10.0.0.2", 9080)])
NAMES = tuple(ISTIOS.cluster_names)


def merged(filters: list[dict[str, Any]], service: IstioService = ISTIOS) -> dict[str, cluster_pb2.Cluster]:
    """Return a service's clusters, and what is added to them, after the filters."""
    return {one.name: one for one in patched(clusters(service), filters)}


def merges(filters: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the values of all MERGE patches."""
    for one in filters:
        for patch in one["spec"]["configPatches"]:
            if patch["patch"]["operation"] == "MERGE":
                yield patch["patch"]["value"]


def test_names_labels_and_places() -> None:
    """One shared filter and one for each Service, in the root namespace, ours by label; the shared one is held."""
    shared, own = render(TO, [REVIEWS])

    assert [one["metadata"]["name"] for one in (shared, own)] == ["askew-xds-cluster", "askew.shop.reviews"]
    assert {one["metadata"]["namespace"] for one in (shared, own)} == {"istio-system"}
    assert all(one["metadata"]["labels"] == LABELS for one in (shared, own))
    assert [one["metadata"].get("finalizers") for one in (shared, own)] == [[FINALIZER], None]


def test_nothing_is_rendered_without_a_service() -> None:
    """A mesh in which nobody is annotated has nothing of ours."""
    assert render(TO, []) == []


def test_the_merge_changes_where_endpoints_come_from_and_nothing_else() -> None:
    """All clusters of the Service, subsets too; name, socket, limits and the rest are as istiod made them."""
    found = merged(render(TO, [REVIEWS]))
    before = merged([])

    assert set(found) == {*NAMES, "askew-xds"}
    for name in NAMES:
        source = found[name].eds_cluster_config.eds_config
        assert source.api_config_source.api_type == config_source_pb2.ApiConfigSource.DELTA_GRPC
        assert found[name].eds_cluster_config.service_name == name
        assert found[name].least_request_lb_config.HasField("active_request_bias")
        stripped = copy.deepcopy(found[name])
        stripped.eds_cluster_config.eds_config.CopyFrom(before[name].eds_cluster_config.eds_config)
        stripped.ClearField("least_request_lb_config")
        assert stripped == before[name]


def test_other_services_are_untouched() -> None:
    """Byte for byte."""
    assert merged(render(TO, [REVIEWS]), OTHER) == merged([], OTHER) | {
        "askew-xds": merged(render(TO, [REVIEWS]))["askew-xds"]
    }


def test_trap_1_lb_policy_cannot_be_merged_but_the_bias_can() -> None:
    """ROUND_ROBIN is the zero value of its enum, which a merge drops; so LEAST_REQUEST stays, with the bias 0."""
    cluster = merged([])[NAMES[0]]
    merge(cluster, read_cluster({"lb_policy": "ROUND_ROBIN"}))
    assert cluster.lb_policy == cluster_pb2.Cluster.LEAST_REQUEST

    ours = merged(render(TO, [REVIEWS]))[NAMES[0]]
    assert ours.lb_policy == cluster_pb2.Cluster.LEAST_REQUEST
    assert ours.least_request_lb_config.active_request_bias.default_value == 0.0


def test_trap_1_no_bias_where_a_rule_says_round_robin() -> None:
    """LEAST_REQUEST's configuration is an error on a cluster of another policy."""
    only = replace(REVIEWS, least_request_clusters=(NAMES[1],))
    found = merged([service_filter(TO, only)])

    assert [found[name].HasField("least_request_lb_config") for name in NAMES] == [False, True, False]
    assert all(found[name].eds_cluster_config.eds_config.HasField("api_config_source") for name in NAMES)


def test_trap_2_initial_fetch_timeout_is_ours_not_istios() -> None:
    """30 s replace Istio's 0 s, which would hold a new pod for ever while we are down."""
    before, after = merged([])[NAMES[0]], merged(render(TO, [REVIEWS]))[NAMES[0]]

    assert before.eds_cluster_config.eds_config.initial_fetch_timeout.seconds == 0
    assert after.eds_cluster_config.eds_config.initial_fetch_timeout.seconds == 30


def test_trap_5_a_transport_socket_would_suppress_the_patch() -> None:
    """istiod takes the socket and drops the rest; so no MERGE of ours has one, in no mode."""
    filters = render(TO, [REVIEWS])
    for value in merges(filters):
        value["transport_socket"] = {"name": "envoy.transport_sockets.raw_buffer"}
    assert merged(filters)[NAMES[0]].eds_cluster_config.eds_config.HasField("ads")

    for mode in ("dynamicCluster", "bootstrap", "googleGrpc"):
        values = list(merges(render(replace(TO, mode=mode, gateways="steer"), [REVIEWS])))
        assert values
        assert not any("transport_socket" in value for value in values)


def test_trap_9_filters_hold_no_weights() -> None:
    """A change of an EnvoyFilter is a full push: what is rendered depends on which Services are annotated alone."""
    assert "weight" not in json.dumps(render(TO, [REVIEWS]))
    assert render(TO, [REVIEWS]) == render(TO, [SteeredService(ServiceName("reviews.shop"))])


def test_trap_10_gateways_only_on_demand() -> None:
    """A gateway's clusters keep Istio's endpoints unless that is asked for; then it gets the way to us as well."""
    filters = render(TO, [REVIEWS])
    gateway = {one.name: one for one in patched(clusters(ISTIOS), filters, context="GATEWAY")}
    assert gateway == merged([])

    steered = render(replace(TO, gateways="steer"), [REVIEWS])
    gateway = {one.name: one for one in patched(clusters(ISTIOS), steered, context="GATEWAY")}
    assert gateway == merged(steered)
    assert "askew-xds" in gateway


def test_trap_10_inbound_clusters_get_nothing() -> None:
    """The way to us is added to what sidecars call, not to what calls them."""
    assert patched([], render(TO, [REVIEWS]), context="SIDECAR_INBOUND") == []


def test_trap_12_the_way_is_a_cluster_of_its_own_and_names_its_authority() -> None:
    """Istio's own cluster of our Service would be missing where a Sidecar resource does not import it."""
    service = merged(render(TO, [REVIEWS]))[NAMES[0]].eds_cluster_config.eds_config.api_config_source.grpc_services[0]

    assert service.envoy_grpc.cluster_name == "askew-xds"
    assert service.envoy_grpc.authority == "askew-xds.askew-system.svc"


def test_the_way_shows_istios_certificate_and_wants_our_identity() -> None:
    """Certificates from the agent's SDS; nobody but the control plane's service account is believed."""
    socket = yaml.safe_load(yaml.safe_dump(render(TO, [REVIEWS])[0]))
    value = socket["spec"]["configPatches"][0]["patch"]["value"]
    tls = value["transport_socket"]["typed_config"]["common_tls_context"]

    assert tls["tls_certificate_sds_secret_configs"][0]["name"] == "default"
    names = tls["combined_validation_context"]["default_validation_context"]["match_typed_subject_alt_names"]
    assert names == [{"san_type": "URI", "matcher": {"exact": "spiffe://cluster.local/ns/askew-system/sa/askew"}}]
    assert read_cluster(value).type == cluster_pb2.Cluster.STRICT_DNS


def test_plaintext_has_no_socket() -> None:
    """For a laptop, where nobody else listens."""
    shared = render(replace(TO, transport="plaintext"), [REVIEWS])[0]

    assert "transport_socket" not in shared["spec"]["configPatches"][0]["patch"]["value"]


def test_mode_google_grpc_has_no_shared_cluster() -> None:
    """The target, Istio's root certificate and the pod's token stand in the source itself."""
    (only,) = render(replace(TO, mode="googleGrpc"), [REVIEWS])
    service = merged([only])[NAMES[0]].eds_cluster_config.eds_config.api_config_source.grpc_services[0].google_grpc

    assert service.target_uri == "dns:///askew-xds.askew-system.svc.cluster.local:18002"
    assert service.credentials_factory_name == "envoy.grpc_credentials.file_based_metadata"
    assert service.channel_credentials.ssl_credentials.root_certs.filename == "/var/run/secrets/istio/root-cert.pem"


def test_mode_google_grpc_in_plaintext_shows_no_token() -> None:
    """For a laptop: the ordinary port, and nothing that could be read on the way."""
    (only,) = render(replace(TO, mode="googleGrpc", transport="plaintext"), [REVIEWS])
    service = merged([only])[NAMES[0]].eds_cluster_config.eds_config.api_config_source.grpc_services[0].google_grpc

    assert service.target_uri.endswith(":18000")
    assert not service.call_credentials


def test_mode_bootstrap_has_a_config_map_in_each_client_namespace() -> None:
    """A pod mounts it from its own namespace; the cluster in it is the same."""
    found = render(replace(TO, mode="bootstrap"), [REVIEWS], client_namespaces=["web", "shop", "web"])

    assert [one["kind"] for one in found] == ["ConfigMap", "ConfigMap", "EnvoyFilter"]
    assert [one["metadata"]["namespace"] for one in found] == ["shop", "web", "istio-system"]
    custom = json.loads(bootstrap_config(TO, "web")["data"]["custom_bootstrap.json"])
    assert read_cluster(custom["static_resources"]["clusters"][0]) == merged(render(TO, [REVIEWS]))["askew-xds"]


def test_mode_bootstrap_has_its_config_maps_though_no_service_is_steered() -> None:
    """A pod that names one cannot start without it, whatever becomes of the Services' annotations."""
    found = render(replace(TO, mode="bootstrap"), [], client_namespaces=["web"])

    assert [(one["kind"], one["metadata"]["namespace"]) for one in found] == [("ConfigMap", "web")]
    assert render(TO, [], client_namespaces=["web"]) == []


def test_mode_native_has_no_filters() -> None:
    """Its objects hold shares, and are rendered elsewhere."""
    with pytest.raises(ValueError, match="native"):
        render(replace(TO, mode="native"), [REVIEWS])


def test_golden(golden: Callable[[str, str], None]) -> None:
    """All that is applied for one Service, as a reviewer reads it (``make golden`` rewrites the file)."""
    golden("envoy_filters.yaml", yaml.safe_dump_all(render(TO, [REVIEWS]), sort_keys=True))
