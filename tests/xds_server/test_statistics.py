"""The statistics part of a sidecar's bootstrap."""

from __future__ import annotations

import itertools
import re

import pytest

from mesh.topology import Node, NodeName
from xds_server.resources.statistics import default_statistics, statistics_settings

SHOP = "outbound|9080|zone|shop.default.svc.cluster.local"


def test_a_node_with_an_agent_is_read_by_it() -> None:
    """Without one, Askew is told."""
    assert default_statistics(Node(NodeName("n1"))) == "push"
    assert default_statistics(Node(NodeName("n1"), agent="127.0.0.1:18100")) == "scrape"


def test_statistics_are_pushed_or_read() -> None:
    """Envoy takes one way to flush; cumulative counters and no quantiles are pushed."""
    push, scrape = (statistics_settings(way, flush_interval_s=2.5) for way in ("push", "scrape"))  # type: ignore[arg-type]
    assert push["stats_flush_interval"] == "2.500s"
    assert not push.keys() & {"stats_flush_on_admin"}
    (sink,) = push["stats_sinks"]
    assert sink["typed_config"]["report_counters_as_deltas"] is False
    assert sink["typed_config"]["histogram_emit_mode"] == "HISTOGRAM"
    assert scrape.keys() == {"stats_config", "stats_flush_on_admin"}


def test_bounds_show_a_slack_of_five_percent() -> None:
    """From 1 ms to 10 s, at most 10 % apart (and a rounding)."""
    (setting,) = statistics_settings("push", flush_interval_s=5.0)["stats_config"]["histogram_bucket_settings"]
    bounds = setting["buckets"]
    assert (bounds[0], bounds[-1] >= 10_000) == (1.0, True)
    assert max(after / before for before, after in itertools.pairwise(bounds)) < 1.1005


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        (f"cluster.{SHOP}.external.upstream_rq_time", True),
        (f"cluster.{SHOP}.internal.upstream_rq_200", True),
        (f"cluster.{SHOP}.zone.a.b.upstream_rq_time", True),
        ("cluster.inbound|9080||.external.upstream_rq_time", True),
        (f"cluster.{SHOP}.upstream_rq_time", False),
        (f"cluster.{SHOP}.upstream_cx_tx_bytes_total", False),
        ("cluster.inbound|9080||.upstream_rq_total", False),
        # A namespace may be called as Envoy's parts are.
        ("cluster.outbound|80||shop.zone.svc.cluster.local.upstream_rq_total", False),
        ("cluster.outbound|80||shop.external.svc.cluster.local.upstream_rq_time", False),
        ("cluster.askew-xds.internal.upstream_rq_200", False),
    ],
)
def test_what_envoy_counts_twice_is_left_out(name: str, left_out: bool) -> None:
    """Only the repetitions, under whatever names services and namespaces have."""
    (pattern,) = statistics_settings("push", flush_interval_s=5.0)["stats_config"]["stats_matcher"]["exclusion_list"][
        "patterns"
    ]
    assert bool(re.fullmatch(pattern["safe_regex"]["regex"], name)) is left_out
