"""Metrics: bounded series, and Istio's names for the same measurements."""

from __future__ import annotations

import grpc.aio
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from tests.xds_server.proxy_stream import Proxy
from tests.xds_server.small_world import cds, world
from xds_server.metrics import XdsMetrics
from xds_server.resources.names import CDS, EDS
from xds_server.server import XdsServer
from xds_server.settings import XdsSettings
from xds_server.store import Store


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> XdsMetrics:
    return XdsMetrics(registry)


def lines(registry: CollectorRegistry, name: str) -> list[str]:
    """Return the samples of a metric as Prometheus reads them, zeros left out."""
    text = generate_latest(registry).decode()
    return [line for line in text.splitlines() if line.startswith(name) and not line.endswith(" 0.0")]


def test_types_that_we_do_not_serve_are_one_series(metrics: XdsMetrics, registry: CollectorRegistry) -> None:
    """A client may invent types without end; the series stay few."""
    for number in range(100):
        metrics.nacks.labels(f"type.googleapis.com/invented.{number}").inc()
    metrics.nacks.labels(CDS).inc()

    assert lines(registry, "askew_xds_nacks_total") == [
        f'askew_xds_nacks_total{{type="{CDS}"}} 1.0',
        'askew_xds_nacks_total{type="other"} 100.0',
    ]


def test_counters_stand_under_istios_names(metrics: XdsMetrics, registry: CollectorRegistry) -> None:
    """With its short types and without ``_total``, as its dashboards ask for them."""
    metrics.connected.set(7)
    metrics.pushes.labels(EDS).inc(3)
    metrics.nacks.labels(CDS).inc()
    metrics.stale_nonces.labels(CDS).inc(2)

    assert lines(registry, "pilot_") == [
        "pilot_xds 7.0",
        'pilot_xds_pushes{type="eds"} 3.0',
        'pilot_total_xds_rejects{type="cds"} 1.0',
        'pilot_xds_expired_nonce{type="cds"} 2.0',
    ]


@pytest.mark.parametrize(
    ("ours", "istios"),
    [
        ("askew_xds_response_seconds", "pilot_xds_push_time"),
        ("askew_xds_response_bytes", "pilot_xds_config_size_bytes"),
        ("askew_xds_push_seconds", "pilot_proxy_convergence_time"),
    ],
)
def test_histograms_stand_under_istios_names(
    metrics: XdsMetrics, registry: CollectorRegistry, ours: str, istios: str
) -> None:
    """Buckets, sum and count: line for line the same but for the names."""
    metrics.response_seconds.labels(EDS).observe(0.002)
    metrics.response_bytes.labels(EDS).observe(20_000)
    metrics.push_seconds.observe(0.02)

    expected = [
        line.replace(ours, istios).replace(EDS, "eds") for line in lines(registry, ours) if "_created" not in line
    ]

    assert lines(registry, istios) == expected
    assert any("_bucket" in line for line in expected)


def test_a_second_server_in_one_process_has_its_own(metrics: XdsMetrics, registry: CollectorRegistry) -> None:
    """Registries are given, never global."""
    other = CollectorRegistry()
    XdsMetrics(other).connected.set(1)

    assert lines(registry, "pilot_xds ") == []
    assert lines(other, "pilot_xds ") == ["pilot_xds 1.0"]


async def test_a_stream_feeds_them(metrics: XdsMetrics, registry: CollectorRegistry) -> None:
    """A response counts with its size and time, and an answer to an older one as such."""
    settings = XdsSettings(port=0, drain_s=0.1)
    server = XdsServer(Store(lambda _: world(cds("shop", endpoints=""))), settings, metrics)
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        proxy = Proxy(channel, "web-0.shop")
        await proxy.first_answer()
        await proxy.ask("shop", nonce="long ago")  # asked for by name, it comes again
        assert await proxy.answer() == ["shop"]
    await server.stop()

    shown = lines(registry, "pilot_")
    assert 'pilot_xds_pushes{type="cds"} 2.0' in shown
    assert 'pilot_xds_expired_nonce{type="cds"} 1.0' in shown
    assert 'pilot_xds_config_size_bytes_count{type="cds"} 2.0' in shown
    assert 'pilot_xds_push_time_count{type="cds"} 2.0' in shown
