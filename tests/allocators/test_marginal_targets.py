"""Loads of least latency, with and without a price for crossing, against scipy and by their own conditions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize

from allocators.errors import ProblemError
from allocators.marginal_targets import Crossing, cheapest_loads, latency_cost
from estimators.latency_curve import WORKERS, marginal_ms

Floats = NDArray[np.float64]


def case(seed: int, *, price_ms: float = 0.0) -> tuple[Floats, float, int, Crossing]:
    """Return service times, a total below capacity, workers, and a price on random nodes."""
    rng = np.random.default_rng(seed)
    size, nodes = int(rng.integers(2, 8)), int(rng.integers(1, 4))
    service_ms = rng.lognormal(2.3, 0.5, size)
    workers = int(rng.choice([1, 2, 4]))
    total = float((1000.0 * workers / service_ms).sum() * rng.uniform(0.2, 0.9))
    crossing = Crossing(price_ms, rng.integers(0, nodes, size), rng.uniform(0.1, 1.0, nodes))
    return service_ms, total, workers, crossing


def scipys_best(service_ms: Floats, total: float, workers: int, crossing: Crossing) -> float:
    """Return the least cost per request that SLSQP finds from three starts."""

    def cost(part: Floats) -> float:
        return latency_cost(part * total, service_ms, workers=workers, crossing=crossing) / total

    rng = np.random.default_rng(0)
    size = len(service_ms)
    starts = [(1 / service_ms) / (1 / service_ms).sum(), rng.dirichlet(np.ones(size)), rng.dirichlet(np.ones(size))]
    whole = {"type": "eq", "fun": lambda part: part.sum() - 1.0}
    found = [
        minimize(cost, start, bounds=[(0.0, 1.0)] * size, constraints=whole, method="SLSQP", options={"maxiter": 500})
        for start in starts
    ]
    return float(min(one.fun for one in found))


@pytest.mark.parametrize("price_ms", [0.0, 0.5, 2.0, 10.0, 100.0])
@pytest.mark.parametrize("seed", range(5))
def test_no_worse_than_scipy(seed: int, price_ms: float) -> None:
    """The same convex problem by SLSQP from three starts: ours costs at most 0.05 % more."""
    service_ms, total, workers, crossing = case(seed, price_ms=price_ms)
    ours = cheapest_loads(service_ms, total_per_s=total, workers=workers, crossing=crossing)

    assert ours.sum() == pytest.approx(total)
    cost = latency_cost(ours, service_ms, workers=workers, crossing=crossing) / total
    assert cost <= 1.0005 * scipys_best(service_ms, total, workers, crossing)


def test_mm1_has_the_square_root_rule() -> None:
    """``w_j = μ_j − √(μ_j/θ)``: 8 servers of 200/s and 2 of 100/s at half load run at 52 % and 32 %."""
    service = np.array([5.0] * 8 + [10.0] * 2)
    loads = cheapest_loads(service, total_per_s=900.0)

    assert (loads * service / 1000.0)[[0, 9]] == pytest.approx([0.52, 0.32], abs=0.01)


@given(st.integers(0, 10**6), st.sampled_from(WORKERS), st.floats(0.05, 3.0))
def test_marginal_latency_is_equal_wherever_there_is_load(seed: int, workers: int, rho: float) -> None:
    """Also where the service is overloaded whole; nobody idle would be cheaper."""
    rng = np.random.default_rng(seed)
    service = rng.lognormal(2.3, 1.0, int(rng.integers(1, 12)))
    total = rho * float((1000.0 * workers / service).sum())
    loads = cheapest_loads(service, total_per_s=total, workers=workers)
    marginal = marginal_ms(loads, service, workers=workers)
    busy = loads > 1e-6 * total

    assert loads.sum() == pytest.approx(total)
    assert np.ptp(np.log(marginal[busy])) < 1e-3
    assert (marginal[~busy] >= marginal[busy].min() * (1 - 1e-3)).all()


@given(st.integers(0, 10**6))
def test_bounds_hold(seed: int) -> None:
    """Whatever they are, as long as they admit the total."""
    rng = np.random.default_rng(seed)
    service_ms, total, workers, _ = case(seed)
    middle = rng.dirichlet(np.ones(len(service_ms))) * total
    low, high = middle * rng.uniform(0.0, 1.0, len(middle)), middle * rng.uniform(1.0, 3.0, len(middle))
    loads = cheapest_loads(service_ms, total_per_s=total, workers=workers, low_per_s=low, high_per_s=high)

    assert loads.sum() == pytest.approx(total)
    assert (loads >= low - 1e-9 * total).all()
    assert (loads <= high + 1e-9 * total).all()


def crossed(loads: Floats, crossing: Crossing) -> float:
    demand = crossing.demand_per_s / crossing.demand_per_s.sum() * loads.sum()
    taken = np.bincount(crossing.nodes, loads, len(demand))
    return float(np.maximum(demand - taken, 0.0).sum())


@pytest.mark.parametrize("seed", range(20))
def test_a_higher_price_never_makes_more_cross(seed: int) -> None:
    """From free to a second for each request; the latency alone never gets better by it."""
    service_ms, total, workers, crossing = case(seed)
    results = []
    for price_ms in (0.0, 1.0, 5.0, 30.0, 1000.0):
        priced = Crossing(price_ms, crossing.nodes, crossing.demand_per_s)
        loads = cheapest_loads(service_ms, total_per_s=total, workers=workers, crossing=priced)
        results.append((crossed(loads, crossing), latency_cost(loads, service_ms, workers=workers)))

    assert all(after[0] <= before[0] + 1e-6 * total for before, after in pairwise(results))
    assert all(after[1] >= before[1] * (1 - 1e-5) for before, after in pairwise(results))


def test_nodes_differ_by_at_most_the_price() -> None:
    """A sender works at θ + p, a receiver at θ: here 3 ms more on the node that sends away."""
    crossing = Crossing(3.0, np.array([0, 1]), np.array([0.3, 0.7]))
    service = np.array([5.0, 10.0])
    loads = cheapest_loads(service, total_per_s=90.0, crossing=crossing)

    assert np.diff(marginal_ms(loads, service))[0] == pytest.approx(3.0, rel=0.02)


def test_a_node_in_between_takes_exactly_its_own_demand() -> None:
    """Equal servers, demand 55 to 45, a price worth more than the difference: nothing crosses."""
    crossing = Crossing(20.0, np.array([0, 1]), np.array([55.0, 45.0]))
    loads = cheapest_loads(np.array([10.0, 10.0]), total_per_s=100.0, crossing=crossing)

    assert loads == pytest.approx([55.0, 45.0])


def test_clients_on_a_node_without_endpoints_must_cross() -> None:
    """Their price is paid whatever the targets are, so it changes nothing."""
    crossing = Crossing(50.0, np.array([0, 0]), np.array([0.0, 1.0]))
    loads = cheapest_loads(np.array([10.0, 20.0]), total_per_s=60.0, crossing=crossing)

    assert loads == pytest.approx(cheapest_loads(np.array([10.0, 20.0]), total_per_s=60.0), rel=1e-4)


def test_a_queue_that_waits_is_load_too() -> None:
    """Of two equal servers the one with 30 requests/s still to serve gets 30 fewer."""
    loads = cheapest_loads(np.array([10.0, 10.0]), total_per_s=100.0, waiting_per_s=np.array([30.0, 0.0]))

    assert np.diff(loads)[0] == pytest.approx(30.0, abs=0.01)


@pytest.mark.parametrize(
    ("service", "low", "message"),
    [
        ([10.0, 0.0], [0.0, 0.0], "service_ms"),
        ([10.0, np.nan], [0.0, 0.0], "service_ms"),
        ([9.0, 9.0], [40.0, 40.0], "70"),
    ],
)
def test_what_has_no_answer_is_refused(service: list[float], low: list[float], message: str) -> None:
    """Service times above 0, bounds that admit the total."""
    with pytest.raises(ProblemError, match=message):
        cheapest_loads(np.array(service), total_per_s=70.0, low_per_s=np.array(low))
