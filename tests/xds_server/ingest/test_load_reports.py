"""Load reports add up."""

from __future__ import annotations

import pytest
from envoy.service.load_stats.v3 import lrs_pb2
from hypothesis import given
from hypothesis import strategies as st

from mesh.telemetry import LoadReport
from tests.xds_server.ingest.reports import SHOP, load_report, said
from xds_server.ingest.collector import Collector
from xds_server.ingest.load_reports import KIND
from xds_server.ingest.messages import LoadStatsRequest

A, B = "10.0.0.1:9080", "10.0.0.2:9080"


def only(found: Collector) -> LoadReport:
    """Return the one client's report."""
    (report,) = found.drain().loads
    return report


def test_counters_add_up_over_reports_and_streams() -> None:
    """A reconnect goes on where the last stream ended."""
    found = said(KIND, load_report((A, 5, 4, 1, 2)), load_report((A, 3, 3, 1, 0), interval_s=2))
    (load,) = only(found).endpoints
    assert (load.issued, load.succeeded, load.failed, load.in_progress) == (8, 7, 2, 0)
    assert (str(load.service_port), load.address) == ("shop.default:9080", A)
    assert only(found).covered_s == 3.0


@given(st.lists(st.tuples(*[st.integers(0, 1000)] * 3), min_size=1, max_size=20))
def test_sums_are_the_sums(reports: list[tuple[int, int, int]]) -> None:
    """Issued, succeeded and failed of any number of reports are their sums."""
    found = said(KIND, *(load_report((A, i, s, f, 0)) for i, s, f in reports))
    (load,) = only(found).endpoints
    assert (load.issued, load.succeeded, load.failed) == tuple(map(sum, zip(*reports, strict=True)))


def test_an_endpoint_that_is_not_mentioned_is_idle() -> None:
    """Its counters stay, and nothing is in progress any more."""
    found = said(KIND, load_report((A, 5, 4, 0, 1), (B, 1, 1, 0, 0)), load_report((B, 1, 1, 0, 0)))
    by_address = {load.address: load for load in only(found).endpoints}
    assert (by_address[A].issued, by_address[A].in_progress) == (5, 0)
    assert by_address[B].issued == 2


def test_a_client_that_reports_whole_clusters_has_no_addresses() -> None:
    """gRPC's clients report by locality."""
    message = load_report()
    for issued in (3, 4):
        message.cluster_stats[0].upstream_locality_stats.add(total_issued_requests=issued)
    (load,) = only(said(KIND, message)).endpoints
    assert (load.address, load.issued) == ("", 7)


def test_the_first_message_of_a_stream_is_no_report() -> None:
    """It only says who the client is."""
    assert said(KIND, LoadStatsRequest(node=load_report().node)).drain().loads == ()


@pytest.mark.parametrize("seconds", [-1, 4000, 1 << 62])
def test_an_interval_that_makes_no_sense_is_dropped(seconds: int) -> None:
    """Such a cluster is counted and left out."""
    found = said(KIND, load_report((A, 1, 1, 0, 0), interval_s=seconds))
    assert found.drops() == {("load_reports", "bad-value"): 1}
    assert only(found).endpoints == ()


def test_clusters_that_are_not_the_meshs_are_passed_over() -> None:
    """The way to Askew itself is nobody's load."""
    message = load_report((A, 1, 1, 0, 0))
    message.cluster_stats[0].cluster_name = "askew-xds"
    assert only(said(KIND, message)).endpoints == ()


def test_the_oldest_endpoints_give_way() -> None:
    """Memory is bounded: with room for three, the three newest stay, and the others are counted."""
    reports = [load_report((f"10.0.0.{i}:9080", 1, 1, 0, 1)) for i in range(10)]
    found = said(KIND, *reports, most_series=3)
    assert [load.address for load in only(found).endpoints] == [f"10.0.0.{i}:9080" for i in (7, 8, 9)]
    assert found.drops() == {("load_reports", "oldest"): 7}


@given(st.binary(max_size=40), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
def test_our_message_reads_what_envoys_class_writes(node_id: bytes, port: int, issued: int) -> None:
    """The lean message is the real one with fields left out."""
    real = lrs_pb2.LoadStatsRequest()
    real.node.id = node_id.hex()
    cluster = real.cluster_stats.add(cluster_name=SHOP, cluster_service_name="x", total_dropped_requests=3)
    cluster.load_report_interval.nanos = 5
    endpoint = cluster.upstream_locality_stats.add(priority=1).upstream_endpoint_stats.add(total_issued_requests=issued)
    endpoint.address.socket_address.port_value = port
    lean = LoadStatsRequest.FromString(real.SerializeToString())
    assert lean.node == real.node.SerializeToString()
    assert lean.cluster_stats[0].load_report_interval.nanos == 5
    found = lean.cluster_stats[0].upstream_locality_stats[0].upstream_endpoint_stats[0]
    assert (found.total_issued_requests, found.address.socket_address.port_value) == (issued, port)
