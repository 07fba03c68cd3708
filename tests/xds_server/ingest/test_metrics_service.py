"""A flush becomes counters and histograms of the mesh's clusters."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.clock import FakeClock
from tests.xds_server.ingest.reports import SHOP, START_S, collector, metrics, said, send
from xds_server.ingest.intake import Intake
from xds_server.ingest.metrics_service import KIND

COUNTER, GAUGE, SUMMARY, HISTOGRAM = 0, 1, 2, 4
REQUESTS = f"cluster.{SHOP}.upstream_rq_total"
SENT = f"cluster.{SHOP}.upstream_cx_tx_bytes_total"
TIMES = f"cluster.{SHOP}.upstream_rq_time"


def test_a_clusters_statistics_become_one_sample() -> None:
    """Also where they come in two messages of one flush."""
    found = said(
        KIND,
        metrics((REQUESTS, COUNTER, 10.0), (f"cluster.{SHOP}.upstream_cx_active", GAUGE, 2.0)),
        metrics((SENT, COUNTER, 5000.0), (f"cluster.{SHOP}.upstream_rq_5xx", COUNTER, 1.0), who=""),
    )
    (one,) = found.drain().counters
    assert (one.requests, one.open_connections, one.sent_bytes, one.server_errors) == (10, 2, 5000, 1)
    assert (one.received_bytes, one.opened_connections) == (None, None)
    assert (one.container, one.reporter, str(one.service_port)) == ("load-1", "client", "shop.default:9080")


def test_the_next_flush_replaces_the_last() -> None:
    """What it does not say is not known; the time is when it began to arrive."""
    clock = FakeClock(START_S)
    found = collector(clock)
    intake = Intake(found, KIND)
    send(intake, metrics((REQUESTS, COUNTER, 10.0), (SENT, COUNTER, 5.0), at_ms=1))
    clock.now_s += 5
    send(intake, metrics((REQUESTS, COUNTER, 12.0), at_ms=5001))
    clock.now_s += 1
    send(intake, metrics((SENT, COUNTER, 6.0), at_ms=5001))
    (one,) = found.drain().counters
    assert (one.requests, one.sent_bytes, one.time_s) == (12, 6, START_S + 5)


def test_histograms_of_intervals_add_up() -> None:
    """Counts, sum and buckets are cumulative over time."""
    first = ((1.0, 2.0, 4.0), (1, 2, 3), 4, 20.0)
    second = ((1.0, 2.0, 4.0), (0, 1, 5), 5, 15.0)
    idle = ((1.0, 2.0, 4.0), (0, 0, 0), 0, 0.0)
    found = said(
        KIND, *(metrics((TIMES, HISTOGRAM, part), at_ms=i + 1) for i, part in enumerate((first, second, idle)))
    )
    (one,) = found.drain().latencies
    assert (one.bounds_ms, one.counts, one.count, one.sum_ms) == ((1.0, 2.0, 4.0), (1, 3, 8), 9, 35.0)


def test_other_bounds_begin_anew() -> None:
    """A sidecar that was restarted with other bounds cannot be added to what it was."""
    found = said(
        KIND,
        metrics((TIMES, HISTOGRAM, ((1.0,), (1,), 1, 0.5)), at_ms=1),
        metrics((TIMES, HISTOGRAM, ((2.0,), (3,), 3, 1.5)), at_ms=2),
    )
    (one,) = found.drain().latencies
    assert (one.bounds_ms, one.count) == ((2.0,), 3)


def test_the_side_of_the_server_is_told_apart() -> None:
    """A sidecar's cluster in front of its own app is the server's view."""
    found = said(KIND, metrics(("cluster.inbound|9080||.upstream_rq_total", COUNTER, 3.0)))
    (one,) = found.drain().counters
    assert (one.reporter, one.cluster, one.service_port) == ("server", "inbound|9080||", None)


@pytest.mark.parametrize(
    "name",
    [
        f"cluster.{SHOP}.external.upstream_rq_total",
        f"cluster.{SHOP}.zone.a.b.upstream_rq_total",
        "cluster.askew-xds.upstream_rq_total",
        f"cluster.{SHOP}.upstream_rq_pending_total",
        "http.outbound.downstream_rq_total",
        "upstream_rq_total",
        "",
        f"cluster.{'x' * 600}.upstream_rq_total",
    ],
)
def test_other_statistics_are_passed_over(name: str) -> None:
    """They are no error: Envoy sends some hundred that nobody reads."""
    found = said(KIND, metrics((name, COUNTER, 1.0)))
    assert found.drain().counters == ()
    assert found.drops() == {}


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), 1e30])
def test_a_counter_that_makes_no_sense_is_dropped(value: float) -> None:
    """Counted, and the others of the message stay."""
    found = said(KIND, metrics((REQUESTS, COUNTER, value), (SENT, COUNTER, 5.0)))
    assert found.drops() == {("metrics_service", "bad-value"): 1}
    assert [one.sent_bytes for one in found.drain().counters] == [5]


@pytest.mark.parametrize(
    "value",
    [
        ((), (), 0, 0.0),
        ((2.0, 1.0), (1, 2), 2, 1.0),
        ((1.0, 2.0), (2, 1), 2, 1.0),
        ((1.0, 2.0), (1, 3), 2, 1.0),
        ((1.0, float("inf")), (1, 2), 2, 1.0),
        ((1.0, float("nan")), (1, 2), 2, 1.0),
        ((-1.0, 2.0), (1, 2), 2, 1.0),
        ((1.0, 1e300), (1, 2), 2, 1.0),
        ((1.0, 2.0), (1, 2), 2, -1.0),
        ((1.0, 2.0), (1, 2), 2, float("nan")),
        (tuple(map(float, range(600))), (0,) * 600, 0, 0.0),
    ],
)
def test_a_histogram_that_makes_no_sense_is_dropped(value: Any) -> None:
    """Bounds ascend, counts do not fall, none is beyond the whole."""
    found = said(KIND, metrics((TIMES, HISTOGRAM, value)))
    assert found.drops() == {("metrics_service", "bad-value"): 1}
    assert found.drain().latencies == ()


def test_a_type_that_does_not_fit_the_name_is_passed_over() -> None:
    """A summary of request times is not a histogram."""
    assert said(KIND, metrics((TIMES, COUNTER, 1.0), (REQUESTS, GAUGE, 1.0))).drain().counters == ()


def test_clusters_are_bounded() -> None:
    """With room for two, the two newest clusters stay."""
    names = [f"cluster.inbound|{port}||.upstream_rq_total" for port in (1, 2, 3)]
    found = said(KIND, metrics(*((name, COUNTER, 1.0) for name in names)), most_series=2)
    assert [one.cluster for one in found.drain().counters] == ["inbound|2||", "inbound|3||"]
    assert found.drops() == {("metrics_service", "oldest"): 1}
