"""Istio's request metrics as samples of containers: what is joined, and what is left out with its reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from istio.prometheus import Answer, Series
from istio.request_history import past_windows
from istio.request_metrics import RequestAnswers, RequestMetrics, only_http_port, request_metrics, service_of
from mesh.mesh_file import parse_mesh_file
from mesh.topology import ContainerName, ServiceName

MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1}]
services:
  - name: shop
    port: 80
    containers:
      - {name: shop-1, node: n1, address: 10.0.0.1}
      - {name: shop-2, node: n1, address: 10.0.0.2}
  - name: both
    ports: [{name: http, port: 80}, {name: http-b, port: 81}]
    containers: [{name: both-1, node: n1, address: 10.0.0.3}]
calls: []
"""
TOPOLOGY = parse_mesh_file(MESH)
HOST = "shop.default.svc.cluster.local"
POD = {"namespace": "default", "pod": "shop-1", "job": "pods", "instance": "10.0.0.1:15020"}


def answer(*found: tuple[dict[str, str], float]) -> Answer:
    return Answer(tuple(Series(labels, ((1000.0, value),)) for labels, value in found))


def answers(pod: dict[str, str], *, host: str = HOST, scraped_s: float = 990.0) -> RequestAnswers:
    """Return what Prometheus says of one pod: 10 requests, 2 failed, 9 within 5 ms."""
    to = {**pod, "destination_service": host}
    return RequestAnswers(
        buckets=answer(({**to, "le": "5"}, 9.0), ({**to, "le": "1"}, 4.0), ({**to, "le": "+Inf"}, 10.0)),
        sums=answer((to, 42.0)),
        requests=answer((to, 10.0)),
        errors=answer((to, 2.0)),
        times=answer((pod, scraped_s)),
    )


def both(one: RequestAnswers, other: RequestAnswers) -> RequestAnswers:
    """Return two pods' answers as one."""
    fields = ("buckets", "sums", "requests", "errors", "times")
    return RequestAnswers(*(Answer(getattr(one, f).series + getattr(other, f).series) for f in fields))


def read(found: RequestAnswers) -> RequestMetrics:
    return request_metrics(found, TOPOLOGY)


def test_samples_are_the_servers_with_the_time_of_the_scrape() -> None:
    """Bounds in order, counts cumulative, errors beside requests, the time not the query's."""
    found = read(answers(POD))
    [latency], [counted] = found.latencies[ContainerName("shop-1")], found.counters[ContainerName("shop-1")]
    assert (latency.bounds_ms, latency.counts, latency.count, latency.sum_ms) == ((1.0, 5.0), (4, 9), 10, 42.0)
    assert (latency.cluster, latency.reporter, latency.time_s) == ("inbound|80||", "server", 990.0)
    assert (counted.requests, counted.server_errors, counted.app_port, counted.time_s) == (10, 2, 80, 990.0)
    assert (found.using, found.left_out) == ("namespace and pod", {})


@pytest.mark.parametrize(
    ("labels", "using"),
    [
        (
            {"kubernetes_namespace": "default", "kubernetes_pod_name": "shop-1"},
            "kubernetes_namespace and kubernetes_pod_name",
        ),
        ({"namespace": "default", "pod_name": "shop-1"}, "namespace and pod_name"),
        ({"instance": "10.0.0.1:15020"}, "instance"),
    ],
)  # fmt: skip
def test_a_pod_is_known_by_what_the_scrape_added(labels: dict[str, str], using: str) -> None:
    """Other relabelling, or none at all, where the address tells."""
    found = read(answers(labels))
    assert set(found.latencies) == {ContainerName("shop-1")}
    assert found.using == using


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (answers({"instance": "10.9.9.9:15020"}), "series of no container of this mesh"),
        (answers(POD, host="cart.default.svc.cluster.local"), "series of another service than the container's"),
        (answers(POD, host="unknown"), "series of another service than the container's"),
        (
            answers({**POD, "pod": "both-1"}, host="both.default.svc.cluster.local"),
            "series of services with several HTTP ports: Istio's metrics name none",
        ),
        (
            replace(answers(POD), requests=answer(({**POD, "destination_service": HOST}, float("nan")))),
            "values that are no counts",
        ),
    ],
)  # fmt: skip
def test_what_is_not_known_is_nothing_and_is_said(changed: RequestAnswers, reason: str) -> None:
    """No latency and no load, but a reason."""
    found = read(changed)
    assert (found.latencies, found.counters) == ({}, {})
    assert reason in found.left_out


def test_half_a_histogram_is_none_but_the_load_counts() -> None:
    """Without the sum, or with buckets that fall, request times are unknown."""
    whole = answers(POD)
    falling = answer(
        *(({**one.labels}, value) for one, value in zip(whole.buckets.series, (3.0, 4.0, 10.0), strict=True))
    )
    for half in (replace(whole, sums=Answer(())), replace(whole, buckets=falling)):
        found = read(half)
        assert found.latencies == {}
        assert found.left_out == {"endpoints whose histogram is missing or falls": 1}
        assert len(found.counters) == 1


def test_a_pod_that_is_scraped_twice_counts_once() -> None:
    """Always the same job's, so that the sample does not jump from one to the other."""
    other = answers({**POD, "job": "again"}, scraped_s=980.0)
    for found in (read(both(answers(POD), other)), read(both(other, answers(POD)))):
        [latency] = found.latencies[ContainerName("shop-1")]
        assert (latency.count, latency.time_s) == (10, 980.0)
        assert found.left_out == {"pods that are scraped twice": 1}


def test_only_services_host_names_are_services() -> None:
    """Others are nothing of the mesh."""
    assert service_of("shop.default.svc.cluster.local") == "shop.default"
    assert [service_of(host) for host in ("unknown", "example.com", "a.b.example.com", "")] == [""] * 4
    assert only_http_port(TOPOLOGY.service_by_name[ServiceName("both.default")]) is None


def test_windows_of_the_past_are_rates_times_the_step() -> None:
    """Steps that are empty, fall, or lack the sum are left out."""

    def one(le: str, *values: float) -> Series:
        return Series({**POD, "le": le}, tuple((60.0 * (i + 1), value) for i, value in enumerate(values)))

    buckets = (one("10", 0.5, 0.0, 2.0, 1.0), one("5", 0.25, 0.0, 3.0, 1.0), one("+Inf", 1.0, 0.0, 4.0, 1.0))
    sums = (Series(POD, ((60.0, 8.0), (120.0, 0.0), (180.0, 8.0))),)
    [window] = past_windows(buckets, sums, step_s=60.0)
    assert (window.pod, window.end_s, window.window_s) == ("shop-1.default", 60.0, 60.0)
    assert (window.bounds_ms, window.counts, window.sum_ms) == ((5.0, 10.0), (15.0, 15.0, 30.0), 480.0)
