"""A container's request times from a page: which histogram, in which unit, and when it is too coarse to be of use."""

from __future__ import annotations

import pytest

from enforcer.errors import LatencyUnreadableError
from enforcer.latency_page import LatencySample, read_page, too_coarse


def histogram(name: str, counts: dict[str, int], labels: str = "") -> str:
    """Return a histogram as Prometheus text."""
    comma = f"{labels}," if labels else ""
    lines = [f'{name}_bucket{{{comma}le="{bound}"}} {count}' for bound, count in counts.items()]
    braces = f"{{{labels}}}" if labels else ""
    return "\n".join([*lines, f"{name}_sum{braces} 12.5", f"{name}_count{braces} {max(counts.values())}"]) + "\n"


def test_the_only_histogram_of_a_page_is_meant() -> None:
    """Seconds become milliseconds; the bucket without a bound is in the count alone."""
    sample = read_page(histogram("rq_seconds", {"0.01": 3, "0.02": 4, "+Inf": 5}), histogram="", time_s=7.0)

    assert sample == LatencySample(7.0, (10.0, 20.0), (3, 4), 5, 12500.0)


def test_envoys_requests_that_come_in_are_meant() -> None:
    """Of a sidecar's listeners, those that lead to the app count; milliseconds stay."""
    name, label = "envoy_http_downstream_rq_time", "envoy_http_conn_manager_prefix"
    page = "".join(
        histogram(name, {"1": count, "+Inf": count}, f'{label}="{prefix}"')
        for prefix, count in (("inbound", 2), ("inbound_9080", 3), ("outbound", 100), ("admin", 100))
    )

    sample = read_page(page + histogram("envoy_cluster_upstream_rq_time", {"1": 9}), histogram="", time_s=0.0)

    assert (sample.bounds_ms, sample.counts, sample.count) == ((1.0,), (5,), 5)


def test_a_named_histogram_is_taken_and_its_label_sets_are_added() -> None:
    """``#name`` in the URL decides where a page has several."""
    page = histogram("a_seconds", {"1": 1}) + histogram("b_ms", {"5": 1, "+Inf": 2}, 'path="/x"')
    page += histogram("b_ms", {"5": 10, "+Inf": 20}, 'path="/y"')

    assert read_page(page, histogram="b_ms", time_s=0.0).counts == (11,)


@pytest.mark.parametrize(
    "page", ["", "up 1\n", 'a_bucket{le="1"} nan\n', "<html>", histogram("a", {"1": 1}) * 1 + histogram("b", {"1": 1})]
)
def test_a_page_that_does_not_say_is_unreadable(page: str) -> None:
    """No histogram, several, or a number that is none: a typed refusal."""
    with pytest.raises(LatencyUnreadableError):
        read_page(page, histogram="", time_s=0.0)


@pytest.mark.parametrize(("target_ms", "fine"), [(30.0, False), (0.5, False), (5000.0, False), (105.0, True)])
def test_buckets_must_be_fine_around_the_target(target_ms: float, fine: bool) -> None:
    """Envoy's defaults (25, 50, 100 ms; Istio's too) show no slack; bounds beyond 110 ms are too far for 5 s."""
    sample = LatencySample(0.0, (1.0, 25.0, 50.0, 100.0, 110.0), (0,) * 5, 0, 0.0)

    assert (too_coarse(sample, target_ms, coarsest_ratio=1.3) == "") == fine
