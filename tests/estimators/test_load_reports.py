"""Load reports to rates of clients: cumulative counts, restarts, silence."""

from __future__ import annotations

import pytest

from estimators.load_reports import ClientRequests, Issued, Requests, read_load_reports
from mesh.telemetry import EndpointLoad, LoadReport
from mesh.topology import ContainerName, ServiceName, ServicePort

SHOP, CART = (ServicePort(ServiceName(f"{name}.default"), 80) for name in ("shop", "cart"))
CLIENT = ContainerName("web-0")


def report(time_s: float, covered_s: float, *endpoints: tuple[ServicePort | None, str, int]) -> LoadReport:
    loads = tuple(EndpointLoad(f"to {address}", port, address, n, n, 0, 0) for port, address, n in endpoints)
    return LoadReport(CLIENT, time_s, covered_s, loads)


def read(*reports: LoadReport) -> tuple[ClientRequests, list[Issued]]:
    """Return what is known after each report was read in a tick of its own, and the increases of each."""
    known: Requests = {}
    increases = []
    for one in reports:
        known, issued = read_load_reports(known, [one], clients=[CLIENT], tick_s=5.0)
        increases.append(issued)
    return known[CLIENT], increases


def test_a_rate_is_the_increase_over_the_time_covered() -> None:
    """All endpoints and clusters of a service port together; the wait until the tick does not matter."""
    first = report(100, 4.0, (SHOP, "a:80", 30), (SHOP, "b:80", 10), (CART, "c:80", 4))
    known, increases = read(first, report(117, 8.0, (SHOP, "a:80", 60), (SHOP, "b:80", 20), (CART, "c:80", 8)))

    assert {port: rate.told.per_s for port, rate in known.rates.items()} == {SHOP: 10.0, CART: 1.0}
    assert increases[1] == {SHOP: {"a:80": 30, "b:80": 10}, CART: {"c:80": 4}}


def test_the_same_report_again_says_nothing_new() -> None:
    """The collector hands the last report over in every tick."""
    one = report(100, 4.0, (SHOP, "a:80", 40))
    known, increases = read(one, one, one)

    assert known.told(SHOP).seconds == 4.0
    assert increases[1:] == [{}, {}]


def test_a_client_that_reports_no_traffic_sends_none() -> None:
    """Zero is known where a report covers time and does not mention a service."""
    known, _ = read(report(100, 4.0), report(105, 9.0))

    assert (known.told(SHOP).events, known.told(SHOP).seconds) == (0.0, 9.0)


def test_a_count_that_began_anew_counts_from_zero() -> None:
    """After the control plane has forgotten a client its sums start again: never a negative rate."""
    known, increases = read(report(100, 50.0, (SHOP, "a:80", 500)), report(105, 5.0, (SHOP, "a:80", 50)))

    assert known.told(SHOP).per_s == pytest.approx(10.0)
    assert increases[1] == {SHOP: {"a:80": 50}}


def test_an_endpoint_that_was_given_up_and_came_back_counts_from_zero() -> None:
    """Past its limit the collector drops the oldest endpoint; the time covered goes on."""
    known, _ = read(report(100, 10.0, (SHOP, "a:80", 100)), report(105, 15.0, (SHOP, "a:80", 50)))

    assert known.told(SHOP).per_s == pytest.approx(10.0)


def test_a_first_call_after_silence_waits_for_a_whole_interval() -> None:
    """The interval in which a client began to send is a part of one: its rate would be too low."""
    silent, begun = report(100, 20.0), report(105, 25.0, (SHOP, "a:80", 40))
    known, _ = read(silent, begun)
    assert known.told(SHOP).per_s == 0.0

    known, _ = read(silent, begun, report(110, 30.0, (SHOP, "a:80", 140)))
    assert known.told(SHOP).per_s == 20.0


def test_strangers_and_other_clusters_do_not_count() -> None:
    """Who is not in the mesh any more is forgotten; a cluster that leads to no service port is passed over."""
    known, issued = read_load_reports({}, [report(100, 4.0, (None, "x:1", 9))], clients=[CLIENT], tick_s=5.0)
    assert (dict(known[CLIENT].rates), dict(issued)) == ({}, {})

    known, _ = read_load_reports(known, [report(105, 8.0)], clients=[], tick_s=5.0)
    assert known == {}
