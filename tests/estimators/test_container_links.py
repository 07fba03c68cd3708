"""Service links split over containers by the client's part and the shares in force."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators.container_links import ShareColumns, columns_of
from estimators.link_traffic import LinkEstimate, estimate_links
from estimators.window_totals import WindowTotals
from mesh.shares import Shares
from mesh.topology import ContainerName
from tests.estimators.known_traffic import KnownTraffic, known_traffic, random_graph


def shares_of(rows: list[tuple[str, str, float]]) -> ShareColumns:
    return ShareColumns([row[0] for row in rows], [row[1] for row in rows], np.array([row[2] for row in rows]))


def split(estimate: LinkEstimate) -> dict[tuple[str, str], float]:
    return {(source, target): rate for source, target, rate in estimate.container_links.rows()}


def random_shares(known: KnownTraffic, rng: np.random.Generator) -> ShareColumns:
    members: dict[str, list[str]] = defaultdict(list)
    for container, service in known.containers.items():
        members[service].append(container)
    rows = []
    for client, server in dict.fromkeys(known.calls):
        for container in members[client]:
            parts = rng.dirichlet(np.ones(len(members[server])))
            rows += [(container, endpoint, float(part)) for endpoint, part in zip(members[server], parts, strict=True)]
    return shares_of(rows)


CONTAINERS = {"f-0": "f", "f-1": "f", "c-0": "c", "c-1": "c"}
TOTALS = WindowTotals(
    window_s=10.0,
    receive_bytes={"f-0": 1000, "f-1": 600, "c-0": 300, "c-1": 100},
    transmit_bytes={"f-0": 100, "f-1": 300, "c-0": 800, "c-1": 800},
)


def test_a_client_counts_with_its_part_each_way() -> None:
    """Towards the endpoint by what the client transmits, back by what it receives."""
    shares = shares_of([("f-0", "c-0", 1.0), ("f-1", "c-0", 0.5), ("f-1", "c-1", 0.5)])
    found = split(estimate_links(CONTAINERS, [("f", "c")], TOTALS, shares=shares))
    assert found == pytest.approx(
        {
            ("f-0", "c-0"): 10.0,
            ("f-1", "c-0"): 15.0,
            ("f-1", "c-1"): 15.0,
            ("c-0", "f-0"): 100.0,
            ("c-0", "f-1"): 30.0,
            ("c-1", "f-1"): 30.0,
        }
    )


@given(st.integers(0, 2**32 - 1), st.integers(2, 10), st.integers(0, 6))
def test_container_links_sum_to_the_service_link(seed: int, services: int, extra: int) -> None:
    """For every pair with shares, both directions, mutual calls included."""
    rng = np.random.default_rng(seed)
    known = known_traffic(random_graph(services, extra, rng), rng)
    estimate = estimate_links(known.containers, known.calls, known.totals(rng), shares=random_shares(known, rng))
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for source, target, rate in estimate.container_links.rows():
        sums[known.containers[source], known.containers[target]] += rate
    assert sums == pytest.approx({(link.source, link.target): link.rate_bytes_per_s for link in estimate.links})


@given(st.integers(0, 2**32 - 1), st.integers(2, 10), st.integers(0, 6))
def test_each_ordered_container_pair_stands_once(seed: int, services: int, extra: int) -> None:
    """Also where two services call each other and both ways have shares."""
    rng = np.random.default_rng(seed)
    known = known_traffic(random_graph(services, extra, rng), rng)
    links = estimate_links(
        known.containers, known.calls, known.totals(rng), shares=random_shares(known, rng)
    ).container_links
    assert len({(source, target) for source, target, _ in links.rows()}) == len(links)


def test_rows_that_do_not_sum_to_one_are_scaled() -> None:
    """Half and half written as 0.2 and 0.2 is still half and half, and the client is named."""
    shares = shares_of([("f-0", "c-0", 0.2), ("f-0", "c-1", 0.2), ("f-1", "c-0", 1.0)])
    estimate = estimate_links(CONTAINERS, [("f", "c")], TOTALS, shares=shares)
    found = split(estimate)
    assert found["f-0", "c-0"] == found["f-0", "c-1"] == pytest.approx(5.0)
    assert estimate.warnings == ("client f-0: shares to c do not sum to 1, scaled",)


def test_a_client_without_shares_is_named_and_the_others_carry_the_link() -> None:
    """The sum still is the link, and the warning tells why a part is too large."""
    estimate = estimate_links(CONTAINERS, [("f", "c")], TOTALS, shares=shares_of([("f-0", "c-0", 1.0)]))
    assert split(estimate)["f-0", "c-0"] == pytest.approx(40.0)
    assert estimate.warnings == ("client f-1: traffic but no share to c; the others carry the link",)


def test_clients_without_traffic_take_equal_parts() -> None:
    """A link known from the other side, clients without a byte: half each."""
    totals = WindowTotals(10.0, {"f-0": 0, "f-1": 0, "c-0": 200}, {"f-0": 0, "f-1": 0, "c-0": 400})
    containers = {"f-0": "f", "f-1": "f", "c-0": "c"}
    shares = shares_of([("f-0", "c-0", 1.0), ("f-1", "c-0", 1.0)])
    estimate = estimate_links(containers, [("f", "c")], totals, shares=shares, measured={("f", "c"): 8.0})
    assert split(estimate)["f-0", "c-0"] == split(estimate)["f-1", "c-0"] == pytest.approx(4.0)


def test_shares_of_strangers_and_without_a_call_are_named() -> None:
    """No link to split: a warning with the names, no entry."""
    shares = shares_of([("ghost", "c-0", 1.0), ("f-0", "f-1", 1.0)])
    estimate = estimate_links(CONTAINERS, [("f", "c")], TOTALS, shares=shares)
    assert len(estimate.container_links) == 0
    assert estimate.warnings == (
        "share of ghost to c-0: no such container",
        "shares of f to f: no call joins them, so no link to split",
    )


def test_shares_of_zero_open_no_link() -> None:
    """A share of 0 carries nothing and is not listed."""
    shares = shares_of([("f-0", "c-0", 1.0), ("f-0", "c-1", 0.0), ("f-1", "c-0", 1.0)])
    estimate = estimate_links(CONTAINERS, [("f", "c")], TOTALS, shares=shares)
    assert ("f-0", "c-1") not in split(estimate)


def test_the_plans_matrices_become_columns() -> None:
    """Entries above zero, by name."""
    clients = (ContainerName("f-0"), ContainerName("f-1"))
    matrix = Shares(clients, (ContainerName("c-0"), ContainerName("c-1")), np.array([[1.0, 0.0], [0.25, 0.75]]))
    columns = columns_of([matrix])
    assert list(zip(columns.clients, columns.endpoints, columns.shares.tolist(), strict=True)) == [
        ("f-0", "c-0", 1.0),
        ("f-1", "c-0", 0.25),
        ("f-1", "c-1", 0.75),
    ]
