"""A page that everybody may read is not made for everybody anew."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.metrics_core import Metric

from askew.metrics_page import LARGEST_PART, MetricsPage
from tests.fakes.clock import FakeClock


class Slow:
    """A collector whose page takes this long by the clock."""

    def __init__(self, clock: FakeClock, *, takes_s: float) -> None:
        self._clock, self._takes_s, self.times = clock, takes_s, 0

    def collect(self) -> Iterator[Metric]:
        self.times += 1
        self._clock.now_s += self._takes_s
        yield from ()


def test_a_flood_of_readers_takes_a_small_part_of_the_time(clock: FakeClock) -> None:
    """However often it is asked for, and however long it takes."""
    registry = CollectorRegistry(auto_describe=False)
    slow = Slow(clock, takes_s=0.1)
    registry.register(slow)
    slow.times = 0
    page, began_s = MetricsPage(registry, now_s=clock), clock()
    while clock() - began_s < 100.0:
        page.body()
        clock.now_s += 0.001

    assert slow.times * 0.1 <= LARGEST_PART * 101.0


def test_who_asks_now_and_then_finds_it_fresh(clock: FakeClock) -> None:
    """As a Prometheus does."""
    registry = CollectorRegistry()
    gauge = Gauge("askew_test", "A number.", registry=registry)
    registry.register(Slow(clock, takes_s=0.1))
    page = MetricsPage(registry, now_s=clock)
    for value in range(3):
        gauge.set(value)
        clock.now_s += 5.0
        assert f"askew_test {value}.0".encode() in page.body()
