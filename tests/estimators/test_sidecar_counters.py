"""Sidecars' counters to rates: restarts, tiers that come and go, gaps."""

from __future__ import annotations

import pytest

from estimators.sidecar_counters import RECEIVED, SENT, Served, SidecarCounts, Sidecars, Way, read_sidecar_counters
from mesh.telemetry import ClusterCounters
from mesh.topology import ContainerName, ServiceName, ServicePort

SHOP = ServicePort(ServiceName("shop.default"), 80)
CLIENT = ContainerName("web-0")


def counted(time_s: float, requests: int, *, tier: str = "", way: Way = SHOP, size: int = 100) -> ClusterCounters:
    port = way if isinstance(way, ServicePort) else None
    return ClusterCounters(
        container=CLIENT,
        cluster=f"outbound|80|{tier}|shop" if port else f"inbound|{way}||",
        service_port=port,
        reporter="client" if port else "server",
        time_s=time_s,
        requests=requests,
        sent_bytes=size * requests,
        received_bytes=10 * size * requests,
    )


def read(*flushes: list[ClusterCounters]) -> tuple[SidecarCounts, Served | None]:
    known: Sidecars = {}
    for flush in flushes:
        known, served = read_sidecar_counters(known, flush, containers=[CLIENT], tick_s=5.0)
    return known[CLIENT], served.get((CLIENT, 80))


def test_the_first_flush_is_where_counting_begins() -> None:
    """Counters are as old as the sidecar: what they hold at first says nothing about now."""
    known, _ = read([counted(100, 10_000)])
    assert known.per_s(SHOP).per_s == 0.0

    known, _ = read([counted(100, 10_000)], [counted(105, 10_050)])
    count = known.per_s(SHOP)
    assert (count.per_s, count.amount_per_s(SENT), count.amount_per_s(RECEIVED)) == (10.0, 1000.0, 10_000.0)


def test_a_tier_that_appears_counts_from_zero() -> None:
    """A change of plan makes new clusters; what they carry since is traffic of the same service."""
    known, _ = read([counted(100, 500)], [counted(105, 550)], [counted(110, 580), counted(110, 20, tier="local")])

    assert known.per_s(SHOP).per_s == 10.0


def test_a_tier_that_has_gone_carries_nothing() -> None:
    """The collector keeps its last sample, with the old time."""
    old = counted(105, 550)
    known, _ = read([counted(100, 500)], [old], *[[old, counted(t, 10 * (t - 105), tier="x")] for t in (110, 115, 120)])

    assert known.per_s(SHOP).per_s == pytest.approx(10.0)


def test_a_restarted_sidecar_counts_from_zero() -> None:
    """A value below the last one: never a negative rate."""
    known, _ = read([counted(100, 900)], [counted(105, 50)])

    assert known.per_s(SHOP).per_s == 10.0


def test_a_gap_gives_no_rate() -> None:
    """After more than 3 intervals a restart would not show: counting begins anew, what was known stays."""
    known, _ = read([counted(100, 0)], [counted(105, 50)], [counted(125, 5000)])
    assert known.per_s(SHOP).per_s == 10.0
    assert known.heard.time_s == 125

    known, _ = read([counted(100, 0)], [counted(105, 50)], [counted(125, 5000)], [counted(130, 5050)])
    assert known.per_s(SHOP).per_s == pytest.approx(10.0)


def test_what_an_app_was_asked_is_counted_in_front_of_it() -> None:
    """The inbound cluster's name holds the service's port."""
    known, served = read([counted(100, 7, way=80)], [counted(105, 57, way=80)])

    assert known.per_s(80).per_s == 10.0
    assert served == Served(50.0, 5.0)


def test_a_counter_that_was_not_sent_is_not_known() -> None:
    """None is no zero: it takes nothing from what is counted."""
    silent = ClusterCounters(CLIENT, "outbound|80||shop", SHOP, "client", 105.0, requests=50)
    known, _ = read([counted(100, 0)], [silent])

    assert (known.per_s(SHOP).per_s, known.per_s(SHOP).amount_per_s(SENT)) == (10.0, 0.0)


def test_the_same_flush_again_says_nothing_new() -> None:
    """Ticks may come faster than flushes."""
    known, served = read([counted(100, 0)], [counted(105, 50)], [counted(105, 50)])

    assert (known.per_s(SHOP).per_s, served) == (10.0, None)
