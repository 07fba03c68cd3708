"""Pods' network counters through a real Prometheus that scrapes what cAdvisor would show, gaps included."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from istio.errors import QueryRejectedError, SourceUnavailableError
from istio.network_counters import NetworkCounters, PodRates
from istio.prometheus import Prometheus, PrometheusSettings
from mesh.topology import ContainerName
from tests.real.outside_process import until
from tests.real.prometheus import exporter, missing, prometheus

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing() or "-")]

PODS = {("shop", name): ContainerName(name) for name in ("cart-0", "host-0", "multus-0", "half-0", "absent-0")}


def page_of(seconds: float) -> str:
    """Return counters that grow by 1,000 bytes received and 500 sent a second."""
    lines = []
    for direction, step in (("receive", 1000), ("transmit", 500)):
        metric = f"container_network_{direction}_bytes_total"
        series = [
            ('namespace="shop",pod="cart-0",interface="eth0"', 1),
            ('namespace="shop",pod="cart-0",interface="tunl0"', 0),
            ('namespace="shop",pod="host-0",interface="eth0"', 100),
            ('namespace="shop",pod="host-0",interface="veth12ab"', 100),
            ('namespace="shop",pod="multus-0",interface="net1"', 2),
            ('namespace="shop",pod="multus-0",interface="net2"', 3),
            ('id="/",interface="eth0"', 100),
            ('id="/docker/1234",interface="eth0"', 5),
        ]
        if direction == "receive":
            series.append(('namespace="shop",pod="half-0",interface="eth0"', 1))
        lines.append(f"# TYPE {metric} counter")
        lines += [f"{metric}{{{labels}}} {seconds * step * factor}" for labels, factor in series]
    return "\n".join(lines) + "\n"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Prometheus]:
    """A client of a Prometheus that lives under a path prefix, as Mimir does."""
    began_s = time.time()
    async with (
        aiohttp.ClientSession() as session,
        exporter(lambda: page_of(time.time() - began_s)) as target,
        prometheus(tmp_path, target, session=session) as base_url,
    ):
        yield Prometheus(session, PrometheusSettings(base_url, deadline_s=5.0))


async def test_real_prometheus_gives_rates_and_says_what_is_missing(client: Prometheus) -> None:
    """Of whom both directions are counted; every gap has a name and a number."""
    source, began_s = NetworkCounters(client, window_s=4.0), time.time()
    last: list[PodRates] = []
    expected = {"cart-0": pytest.approx((1000.0, 500.0), rel=0.1), "multus-0": pytest.approx((5000.0, 2500.0), rel=0.1)}

    async def settled() -> bool:
        last[:] = [await source.read(PODS, time_s=time.time())]
        return {one.container: (one.received_bytes_per_s, one.sent_bytes_per_s) for one in last[0].pods} == expected

    await until(settled)
    [result] = last
    assert all(began_s - 1.0 < one.time_s <= time.time() for one in result.pods)
    assert result.left_out == {
        "series without a pod's labels": 2,
        "pods on the host's network: the counters are the node's": 1,
        "pods with one direction only": 1,
        "pods without eth0 and with several interfaces: summed": 1,
        "pods without counters": 3,
    }


async def test_real_prometheus_range_and_refusals(client: Prometheus) -> None:
    """A range query has the asked times; a bad query is refused for good, a dead server is tried again."""
    now = (await client.instant("time()")).series[0].samples[0][1]
    answer = await client.range("vector(7)", start_s=now - 10, end_s=now, step_s=5.0)
    assert [value for _, value in answer.series[0].samples] == [7.0, 7.0, 7.0]
    with pytest.raises(QueryRejectedError, match="parse error"):
        await client.instant("sum(")
    async with aiohttp.ClientSession() as session:
        dead = Prometheus(session, PrometheusSettings("http://127.0.0.1:9/x", deadline_s=1.0))
        with pytest.raises(SourceUnavailableError):
            await dead.instant("up")
