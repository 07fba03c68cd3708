"""Envoy's statistics pages, as recorded from Envoy 1.40 and as anything else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.topology import ServiceName, ServicePort
from xds_server.ingest.cluster_bytes import ClusterBytes, parse_cluster, parse_stats_json, parse_stats_prometheus
from xds_server.ingest.errors import UnreadableStatsError

REVIEWS = ServicePort(ServiceName("reviews.default"), 9080)
LOCAL, REMOTE = (f"outbound|9080|{tier}|reviews.default.svc.cluster.local" for tier in ("local", "remote"))


def page(*counters: tuple[str, object]) -> str:
    return json.dumps({"stats": [{"name": name, "value": value} for name, value in counters]})


def test_tiers_of_a_service_are_summed() -> None:
    """A client's bytes to a service are those of all its tiers."""
    scrape = parse_stats_json(
        page(
            (f"cluster.{LOCAL}.upstream_cx_tx_bytes_total", 84),
            (f"cluster.{LOCAL}.upstream_cx_rx_bytes_total", 224),
            (f"cluster.{REMOTE}.upstream_cx_tx_bytes_total", 16),
        )
    )
    assert scrape.clusters == {REVIEWS: ClusterBytes(sent=100, received=224)}


def test_other_statistics_and_clusters_are_passed_over() -> None:
    """The app behind the sidecar and our own xDS cluster are no links."""
    scrape = parse_stats_json(
        page(
            ("cluster.inbound|9080||.upstream_cx_tx_bytes_total", 5),
            ("cluster.askew-xds.upstream_cx_tx_bytes_total", 5),
            (f"cluster.{LOCAL}.upstream_rq_total", 5),
        )
    )
    assert (scrape.clusters, scrape.unreadable) == ({}, 0)


@pytest.mark.parametrize("value", [-1, 1.5, "7", True, None, 1 << 64])
def test_values_that_are_no_counts_are_counted(value: object) -> None:
    """Left out, and said to be left out."""
    scrape = parse_stats_json(page((f"cluster.{LOCAL}.upstream_cx_tx_bytes_total", value)))
    assert (scrape.clusters, scrape.unreadable) == ({}, 1)


def test_names_that_envoy_cut_at_the_first_dot_are_joined() -> None:
    """Its default tag rule leaves the rest in the metric's name, where dots and hyphens became underscores."""
    scrape = parse_stats_prometheus(
        "# TYPE envoy_cluster_default_svc_cluster_local_upstream_cx_rx_bytes_total counter\n"
        'envoy_cluster_default_svc_cluster_local_upstream_cx_rx_bytes_total{envoy_cluster_name="outbound|9080|local|reviews"}'
        " 224\n"
        'envoy_cluster_my_shop_svc_cluster_local_upstream_cx_tx_bytes_total{envoy_cluster_name="outbound|80||cart"} 3\n'
    )
    assert scrape.clusters == {
        REVIEWS: ClusterBytes(0, 224),
        ServicePort(ServiceName("cart.my-shop"), 80): ClusterBytes(3, 0),
    }


def test_whole_names_as_istio_tags_them() -> None:
    """Istio's bootstrap keeps the name whole; other labels may stand around it."""
    scrape = parse_stats_prometheus(
        f'envoy_cluster_upstream_cx_tx_bytes_total{{app="x",envoy_cluster_name="{LOCAL}",z="a"}} 1.5e+06 1700000000\n'
    )
    assert scrape.clusters == {REVIEWS: ClusterBytes(1_500_000, 0)}


@pytest.mark.parametrize(
    "name",
    ["inbound|80||", "outbound|80||reviews", "outbound|x||a.b", "outbound|0||a.b", "outbound|70000||a.b", "", "a.b"],
)
def test_names_that_lead_to_no_service(name: str) -> None:
    """None, not a guess."""
    assert parse_cluster(name) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"stats": 1}', "[" * 100_000, '{"stats": NaN'])
def test_another_page_is_refused(text: str) -> None:
    """An HTML error page or a proxy in between is not a sidecar without traffic."""
    with pytest.raises(UnreadableStatsError):
        parse_stats_json(text)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["stats", "name", "value"]), inner),
    max_leaves=10,
)


@given(_json)
def test_any_json_is_read_or_refused(document: object) -> None:
    """Nothing but the room's own error."""
    try:
        parse_stats_json(json.dumps(document))
    except UnreadableStatsError:
        return


@given(st.text(max_size=200), st.integers(0, 120))
def test_any_text_is_read_as_prometheus_text(noise: str, place: int) -> None:
    """Lines that are not understood are passed over; nothing is raised."""
    good = f'envoy_cluster_upstream_cx_tx_bytes_total{{envoy_cluster_name="{LOCAL}"}} 12'
    parse_stats_prometheus(good[:place] + noise + good[place:])
