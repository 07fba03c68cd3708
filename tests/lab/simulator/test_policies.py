"""Each policy against its documented worked example or its defining property."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.simulator.build import build
from lab.simulator.policies import POLICIES
from lab.simulator.policies.aperture import coverage
from lab.simulator.policies.client_weighted import report_weights, with_mean_for_missing
from lab.simulator.policies.edf import BIAS, edf_memory, pick_least_request, pick_weighted
from lab.simulator.policies.imbres import fill, grouped, shift
from lab.simulator.policies.load_aware_locality import headroom, locality_shares
from lab.simulator.policies.opttraffic import two_steps
from lab.simulator.policies.peak_ewma import FIRST_S, note_latency, pick_peak_ewma
from lab.simulator.policies.prequal import (
    COLUMNS,
    EVER,
    FIRST,
    LATENCY,
    LOAD,
    READY_S,
    ROUND_TRIPS,
    SERVER,
    SIZE,
    choose_probe,
    latency_at,
)
from lab.simulator.policies.subsets import random_subsets, rocksteadier_subsets
from lab.simulator.policies.transport import least_crossing
from lab.simulator.policies.zone_aware import zone_shares
from lab.simulator.scenarios import SCENARIOS
from lab.simulator.world import BOARD_WIDTH, IN_FLIGHT, LATENCIES, LATENCY_RING, LATENCY_WIDTH

HIDDEN = np.full((8, BOARD_WIDTH), np.nan)


@numba.njit
def picks(
    count: int, pick: Any, now_s: float, rng: Any, links: Any, active: Any, weights: Any, memory: Any, board: Any
) -> Any:
    """Return ``count`` choices in a row."""
    chosen = np.empty(count, dtype=np.int64)
    for index in range(count):
        chosen[index] = pick(now_s, rng, links, active, weights, memory, board)
    return chosen


@numba.njit
def responses(done: Any, now_s: float, endpoint: int, latency_s: float, active: Any, memory: Any) -> None:
    """Let a client learn one response."""
    done(now_s, endpoint, latency_s, 0, np.nan, np.nan, active, memory)


def choose(
    pick: Any, weights: list[float], active: list[int], *, bias: float = 1.0, count: int = 1000
) -> dict[int, float]:
    """Return how often each endpoint was chosen, as a fraction, with constant requests in flight."""
    memory = np.zeros(edf_memory(len(weights)))
    memory[0], memory[BIAS] = 1.0, bias
    chosen = picks(
        count,
        pick,
        0.0,
        np.array([7], dtype=np.uint64),
        np.flatnonzero(weights),
        np.array(active),
        np.array(weights, dtype=np.float64),
        memory,
        HIDDEN[: len(weights)],
    )
    return {int(index): times / count for index, times in Counter(chosen.tolist()).items()}


def test_weighted_round_robin_keeps_its_shares() -> None:
    """Weights 10, 30, 60 give 10, 30, 60 %, whatever is in flight, and in every short stretch of requests."""
    assert choose(pick_weighted, [10, 30, 60], [9, 0, 3]) == pytest.approx({0: 0.1, 1: 0.3, 2: 0.6}, abs=0.002)


def test_least_request_divides_the_weight_by_what_is_in_flight() -> None:
    """Weight / (active + 1): 60 with 3 in flight counts as 15, 30 with none as 30, 10 with none as 10."""
    expected = {0: 10 / 55, 1: 30 / 55, 2: 15 / 55}

    assert choose(pick_least_request, [10, 30, 60], [0, 0, 3]) == pytest.approx(expected, abs=0.01)


def test_a_bias_of_zero_ignores_what_is_in_flight() -> None:
    """With ``active_request_bias`` 0 LEAST_REQUEST is weighted round robin."""
    assert choose(pick_least_request, [10, 30, 60], [0, 0, 3], bias=0.0) == pytest.approx(
        {0: 0.1, 1: 0.3, 2: 0.6}, abs=0.01
    )


def test_equal_weights_are_two_choices() -> None:
    """The busiest of four is chosen only if it is drawn twice (1/16), the idlest unless it is not drawn (7/16)."""
    shares = choose(pick_least_request, [5, 5, 5, 5], [3, 2, 1, 0], count=40_000)

    assert shares == pytest.approx({0: 1 / 16, 1: 3 / 16, 2: 5 / 16, 3: 7 / 16}, abs=0.01)


@pytest.mark.parametrize("pick", [pick_weighted, pick_least_request])
def test_what_has_no_weight_gets_nothing(pick: Any) -> None:
    """An endpoint without a weight is not connected."""
    assert set(choose(pick, [5, 0, 5], [0, 0, 0])) == {0, 2}


def test_zone_aware_is_local_where_servers_suffice() -> None:
    """A zone with as large a part of the servers as of the clients keeps all its requests."""
    assert zone_shares(1, local=np.array([5, 3, 2]), upstream=np.array([2, 4, 4])).tolist() == [0.0, 1.0, 0.0]


def test_zone_aware_spills_by_surplus() -> None:
    """5 of 10 clients, 2 of 10 servers: 40 % stay, the rest goes 1 : 2 to surpluses of 10 and 20 points."""
    shares = zone_shares(0, local=np.array([5, 3, 2]), upstream=np.array([2, 4, 4]))

    assert shares == pytest.approx([0.4, 0.2, 0.4])


@pytest.mark.parametrize(
    ("local", "upstream"), [([3, 3], [3, 2]), ([6, 0], [3, 3]), ([3, 3], [6, 0]), ([0, 6], [3, 3])]
)
def test_zone_aware_is_skipped(local: list[int], upstream: list[int]) -> None:
    """Under 6 servers, with one zone on either side, or without a host of one's own: all hosts alike."""
    shares = zone_shares(0, local=np.array(local), upstream=np.array(upstream))

    assert shares == pytest.approx(np.array(upstream) / sum(upstream))


@given(counts=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=2, max_size=6))
def test_zone_aware_shares_are_shares(counts: list[tuple[int, int]]) -> None:
    """They sum to 1 for every zone that has clients, and go to zones that have servers."""
    local, upstream = np.array(counts).T
    for zone in np.flatnonzero(local):
        if upstream.sum():
            shares = zone_shares(int(zone), local=local, upstream=upstream)
            assert shares.sum() == pytest.approx(1.0)
            assert (shares >= 0).all()


def test_load_aware_locality_follows_its_documentation() -> None:
    """Utilisations .7, .3, .4 with 10 hosts each: 19, 44, 37 (.5) %; within 0.1 of the others all but 3 % stay."""
    hosts = np.array([10, 10, 10])

    assert (headroom(hosts, np.array([0.7, 0.3, 0.4])) * 100) == pytest.approx([18.75, 43.75, 37.5])
    assert locality_shares(0, hosts, np.array([0.7, 0.3, 0.4])) == pytest.approx([0.1875, 0.4375, 0.375])
    assert locality_shares(0, hosts, np.array([0.44, 0.3, 0.4]))[0] == pytest.approx(0.97)


def test_load_aware_locality_always_probes_abroad() -> None:
    """Even when all others are full, 3 % leave."""
    assert locality_shares(0, np.array([4, 4]), np.array([0.95, 1.0])) == pytest.approx([0.97, 0.03])


def test_report_weights_equalise_utilisation() -> None:
    """qps / utilisation is 1 / cost: a server that needs twice as much per request gets half."""
    weights = report_weights(np.array([100.0, 100.0]), np.array([0.2, 0.4]))

    assert weights[0] == pytest.approx(2 * weights[1])


def test_errors_lower_a_report_weight() -> None:
    """A58's penalty: errors per request add to the utilisation."""
    weights = report_weights(np.array([100.0, 100.0]), np.array([0.5, 0.5]), errors_per_s=np.array([0.0, 50.0]))

    assert weights == pytest.approx([200.0, 100.0])


def test_hosts_without_a_report_get_the_mean() -> None:
    """As A58 says; with fewer than two reports it is plain round robin."""
    linked = np.array([[True, True, True, False]])

    assert with_mean_for_missing(np.array([[10.0, 30.0, 0.0, 9.0]]), linked).tolist() == [[10.0, 30.0, 20.0, 0.0]]
    assert with_mean_for_missing(np.array([[10.0, 0.0, 0.0, 9.0]]), linked).tolist() == [[1.0, 1.0, 1.0, 0.0]]


@given(clients=st.integers(1, 30), servers=st.integers(1, 40), minimum=st.integers(1, 14))
def test_an_aperture_loads_all_backends_alike(clients: int, servers: int, minimum: int) -> None:
    """Deterministic aperture: the rows are equal, the columns are equal, and a row covers ``minimum`` backends."""
    covered = coverage(clients, servers, minimum=minimum)

    assert np.ptp(covered.sum(axis=0)) < 1e-6
    assert np.ptp(covered.sum(axis=1)) < 1e-6
    assert covered.sum(axis=1).min() >= min(minimum, servers) - 1e-6


@given(lots=st.integers(1, 4), server_lots=st.integers(1, 4), size=st.integers(1, 12))
def test_rocksteadier_is_balanced_within_full_lots(lots: int, server_lots: int, size: int) -> None:
    """Every full lot of clients gives each server of a lot that it uses as many clients as the next one."""
    clients, servers = 10 * lots, 10 * server_lots

    subsets = rocksteadier_subsets(clients, servers, size)

    assert (subsets.sum(axis=1) == min(size, servers)).all()
    for group in range(lots):
        by_lot = subsets[10 * group : 10 * group + 10].sum(axis=0).reshape(server_lots, 10)
        assert np.ptp(by_lot, axis=1).max() == 0


def test_random_subsets_have_their_known_unevenness() -> None:
    """N = M = 100, k = 10: the busiest server has about 1.82 times the mean's clients, with a CV of .30."""
    rng = np.random.default_rng(1)
    loads = np.array([random_subsets(rng, 100, 100, 10).sum(axis=0) for _ in range(200)])

    assert loads.mean() == 10
    assert (loads.max(axis=1) / 10).mean() == pytest.approx(1.82, abs=0.05)
    assert (loads.std(axis=1) / 10).mean() == pytest.approx(0.30, abs=0.01)


def test_peak_ewma_jumps_up_and_comes_down_slowly() -> None:
    """A peak counts at once; 10 s of silence forgive all but e^-1 of it."""
    memory, active = np.full(5, 0.0), np.zeros(2, dtype=np.int64)
    memory[1:3] = FIRST_S
    responses(note_latency, 1.0, 0, 2.0, active, memory)
    assert memory[1] == 2.0

    responses(note_latency, 11.0, 0, 0.0, active, memory)

    assert memory[1] == pytest.approx(2.0 * np.exp(-1))


def test_peak_ewma_avoids_the_slow_one() -> None:
    """Of two servers, one slow, the slow one is chosen only where it is drawn twice."""
    memory, active = np.array([0.0, 0.01, 1.0, 0.0, 0.0]), np.zeros(2, dtype=np.int64)
    rng, links = np.array([3], dtype=np.uint64), np.array([0, 1])

    chosen = picks(8000, pick_peak_ewma, 0.0, rng, links, active, np.ones(2), memory, HIDDEN[:2])

    assert chosen.mean() == pytest.approx(0.25, abs=0.02)


def probes(*answers: tuple[int, float, float, float]) -> Any:
    """Return a client's memory with these answers (server, in flight, latency, ready) in its pool."""
    memory = np.zeros(ROUND_TRIPS + 8)
    memory[SIZE] = memory[EVER] = len(answers)
    for entry, answer in enumerate(answers):
        for column, value in zip((SERVER, LOAD, LATENCY, READY_S), answer, strict=True):
            memory[FIRST + entry * COLUMNS + column] = value
    return memory


def test_prequal_takes_the_fastest_cold_server() -> None:
    """Hot ones (more in flight than the quantile) are left alone, however fast they look."""
    memory = probes((0, 1, 0.020, 0.0), (1, 2, 0.010, 0.0), (2, 9, 0.001, 0.0))

    assert choose_probe(0.5, memory, 5.0) == 1


def test_prequal_takes_the_least_busy_of_hot_servers() -> None:
    """If all are hot, requests in flight decide."""
    memory = probes((0, 7, 0.020, 0.0), (1, 6, 0.030, 0.0), (2, 9, 0.001, 0.0))

    assert choose_probe(0.5, memory, 5.0) == 1


def test_prequal_uses_no_answer_before_it_is_back_or_when_it_is_old() -> None:
    """Answers count from a round trip on, and for a second."""
    memory = probes((0, 1, 0.001, 2.0), (1, 1, 0.002, 0.5), (2, 1, 0.003, 1.2))

    best = choose_probe(1.6, memory, 5.0)

    assert memory[FIRST + best * COLUMNS + SERVER] == 2
    assert memory[SIZE] == 2


def test_prequal_reads_the_latency_at_the_present_load() -> None:
    """The median of the latencies that requests had with as many in flight; else of the nearest number known."""
    board = np.zeros((1, BOARD_WIDTH))
    for in_flight, latencies in ((0, [0.01, 0.02, 0.5]), (3, [0.09])):
        column = LATENCIES + in_flight * LATENCY_WIDTH
        board[0, column] = len(latencies)
        board[0, column + 1 : column + 1 + len(latencies)] = latencies

    found = []
    for in_flight in (0, 1, 2, 3, 9):
        board[0, IN_FLIGHT] = in_flight
        found.append(latency_at(board, 0))

    assert found == [0.02, 0.02, 0.09, 0.09, 0.09]
    assert LATENCY_RING >= 3


def test_opttraffic_figure_8() -> None:
    """Two clients, three servers on two hosts: 1/2 + 1/2, and 2/3 local + 1/6 + 1/6; a third crosses, not one."""
    shares = two_steps(np.array([0, 1]), np.array([0, 0, 1]))

    assert shares == pytest.approx(np.array([[1 / 2, 1 / 2, 0], [1 / 6, 1 / 6, 2 / 3]]))


@given(
    clients=st.lists(st.integers(0, 4), min_size=1, max_size=12),
    servers=st.lists(st.integers(0, 4), min_size=1, max_size=12),
)
def test_opttraffic_gives_every_server_as_much(clients: list[int], servers: list[int]) -> None:
    """With equal rates the rows sum to 1, the columns are equal, and no less could cross."""
    shares = two_steps(np.array(clients), np.array(servers))
    here = np.array(clients)[:, None] == np.array(servers)[None, :]
    demand = np.bincount(clients, minlength=5)
    supply = np.bincount(servers, minlength=5) * len(clients) / len(servers)

    assert shares.sum(axis=1) == pytest.approx(np.ones(len(clients)))
    assert shares.sum(axis=0) == pytest.approx(np.full(len(servers), len(clients) / len(servers)))
    assert shares[~here].sum() == pytest.approx(np.maximum(demand - supply, 0).sum())


def test_imbres_algorithm_1() -> None:
    """Two hosts at 10 and 30 ms, mean 20: half of ±20 % is ±10 %, normalised: .55 and .45."""
    assert shift(np.array([0.5, 0.5]), np.array([0.010, 0.030])) == pytest.approx([0.55, 0.45])


def test_imbres_settles_where_latencies_are_equal() -> None:
    """On M/M/1 hosts of unlike speed the shares stop at equal latency, which is not the optimum."""
    speeds, shares = np.array([100.0, 100.0, 100.0, 60.0]), np.full(4, 0.25)
    for _ in range(200):
        latencies = 1 / (speeds - shares * 200.0)
        shares = shift(shares, latencies)

    assert np.ptp(1 / (speeds - shares * 200.0)) < 1e-6


def test_imbres_keeps_a_host_that_it_cannot_see() -> None:
    """No sample, no shift."""
    assert shift(np.array([0.2, 0.4, 0.4]), np.array([np.nan, 0.01, 0.01])) == pytest.approx([0.2, 0.4, 0.4])


@given(
    clients=st.lists(st.floats(0.1, 10), min_size=1, max_size=10),
    servers=st.lists(st.floats(0.1, 10), min_size=1, max_size=10),
)
def test_an_imbres_group_reproduces_the_whole_target(clients: list[float], servers: list[float]) -> None:
    """Rows and columns are the shares asked for, with rows + columns − 1 links at most."""
    flows = fill(np.array(clients), np.array(servers))

    assert flows.sum(axis=1) == pytest.approx(np.array(clients) / sum(clients))
    assert flows.sum(axis=0) == pytest.approx(np.array(servers) / sum(servers))
    assert np.count_nonzero(flows) <= len(clients) + len(servers) - 1


def test_imbres_pairs_the_largest_client_with_the_smallest_server() -> None:
    """Fast clients meet slow servers first."""
    flows = fill(np.array([0.2, 0.8]), np.array([0.9, 0.1]))

    assert flows[1, 1] == pytest.approx(0.1)
    assert flows[0, 1] == 0


def test_imbres_groups_by_latency() -> None:
    """K-means in one dimension: clients of like latency share a group, and no more groups than latencies."""
    assert grouped(np.array([5.0, 5.0, 5.0]), 10).tolist() == [0, 0, 0]
    assert grouped(np.array([1.0, 50.0, 1.2, 51.0, 9.0]), 3).tolist() == [0, 2, 0, 2, 1]


@given(seed=st.integers(0, 50))
def test_the_transport_plan_is_sparse_and_crosses_least(seed: int) -> None:
    """Exact rows and columns, at most rows + columns − 1 links, crossing = Σ max(0, demand − supply) per node."""
    rng = np.random.default_rng(seed)
    rates, targets = rng.uniform(1, 5, 7), rng.uniform(1, 5, 9)
    targets *= rates.sum() / targets.sum()
    client_nodes, server_nodes = rng.integers(0, 3, 7), rng.integers(0, 3, 9)
    crosses = (client_nodes[:, None] != server_nodes[None, :]).astype(float)

    flows = least_crossing(rates, targets, crosses)

    assert flows.sum(axis=1) == pytest.approx(rates, rel=1e-5)
    assert flows.sum(axis=0) == pytest.approx(targets, rel=1e-5)
    assert np.count_nonzero(flows) <= 15
    short = np.bincount(client_nodes, rates, 3) - np.bincount(server_nodes, targets, 3)
    assert (flows * crosses).sum() == pytest.approx(np.maximum(short, 0).sum(), rel=1e-5)


def test_imbres_ablations_lay_other_connections() -> None:
    """Before any telemetry: ten random connections a client, balanced or by node shares; or all, by node shares."""
    kept = {}
    for name in ("random-partial", "imbres-random", "imbres-full-mesh"):
        built = build(SCENARIOS["smoke"](), POLICIES[name], seed=1)
        built.policies[0].start(built.pairs[0])
        kept[name] = built.pairs[0].weights

    assert set(np.count_nonzero(kept["random-partial"], axis=1)) == {10}
    assert set(np.unique(kept["random-partial"])) == {0.0, 1.0}
    assert set(np.count_nonzero(kept["imbres-random"], axis=1)) == {10}
    assert np.count_nonzero(kept["imbres-full-mesh"]) == 1600
    assert kept["imbres-full-mesh"][0] == pytest.approx(np.full(40, 1 / 40))
