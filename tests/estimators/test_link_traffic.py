"""Link traffic against traffic matrices that are known to the byte."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from estimators.errors import UnknownNameError, UnknownStrategyError
from estimators.link_traffic import LinkEstimate, estimate_links
from estimators.window_totals import WindowTotals
from tests.estimators.known_traffic import (
    MEDIA_MICROSERVICES,
    SOCIAL_NETWORK,
    WINDOW_S,
    KnownTraffic,
    calls_of,
    known_traffic,
    random_graph,
    random_tree,
)

SEED = 20230807  # ICPP 2023
seeds = st.integers(0, 2**32 - 1)


def errors(estimate: LinkEstimate, known: KnownTraffic) -> np.ndarray:
    """Return the relative error of every link."""
    truth = np.array([known.link_bytes[link.source, link.target] / WINDOW_S for link in estimate.links])
    found = np.array([link.rate_bytes_per_s for link in estimate.links])
    return np.abs(found - truth) / np.maximum(truth, 1e-9)


def rates(estimate: LinkEstimate) -> dict[tuple[str, str], float]:
    return {(link.source, link.target): link.rate_bytes_per_s for link in estimate.links}


@given(seeds, st.integers(1, 60))
def test_trees_are_exact_in_both_directions(seed: int, services: int) -> None:
    """Random trees: every link peels, each within 1e-9 of the truth, and nothing is left over."""
    rng = np.random.default_rng(seed)
    known = known_traffic(random_tree(services, rng), rng)
    estimate = estimate_links(known.containers, known.calls, known.totals(rng))
    assert {link.method for link in estimate.links} <= {"peeled"}
    assert errors(estimate, known).max(initial=0.0) <= 1e-9
    assert (estimate.to_measure, estimate.residual) == ((), 0.0)


@given(seeds, st.integers(2, 25), st.integers(1, 12))
def test_cycles_are_exact_once_what_was_asked_for_is_measured(seed: int, services: int, extra: int) -> None:
    """Measure ``to_measure`` and no more: nothing stays open, every link is exact, the method says how."""
    rng = np.random.default_rng(seed)
    known = known_traffic(random_graph(services, extra, rng), rng)
    totals = known.totals(rng)
    before = estimate_links(known.containers, known.calls, totals)
    measured = known.measurements(before.to_measure)
    after = estimate_links(known.containers, known.calls, totals, measured=measured)
    assert after.to_measure == ()
    assert {link.method for link in after.links if (link.source, link.target) not in measured} <= {"peeled"}
    assert {link.method for link in after.links if (link.source, link.target) in measured} <= {"measured"}
    assert errors(after, known).max(initial=0.0) <= 1e-6
    assert after.residual <= 1e-9


@given(seeds, st.integers(3, 20), st.integers(1, 10))
def test_unmeasured_cycles_are_estimated_and_fit_the_counters(seed: int, services: int, extra: int) -> None:
    """Exact counters on a cycle: estimated links are >= 0, their sums meet every counter, peeled ones are exact."""
    rng = np.random.default_rng(seed)
    known = known_traffic(random_graph(services, extra, rng), rng)
    estimate = estimate_links(known.containers, known.calls, known.totals(rng))
    peeled = np.array([link.method == "peeled" for link in estimate.links])
    assert min((link.rate_bytes_per_s for link in estimate.links), default=0.0) >= 0.0
    assert errors(estimate, known)[peeled].max(initial=0.0) <= 1e-6
    assert estimate.residual <= 1e-6
    assert bool(estimate.to_measure) == (not peeled.all())


@pytest.mark.parametrize("graph", [SOCIAL_NETWORK, MEDIA_MICROSERVICES], ids=["social-network", "media"])
def test_deathstarbench_with_exact_counters_is_exact_once_measured(graph: dict[str, tuple[str, ...]]) -> None:
    """The paper's own kind of graph, with its service-level cycle: exact after a few measured services."""
    rng = np.random.default_rng(SEED)
    known = known_traffic(calls_of(graph), rng)
    totals = known.totals(rng)
    asked = estimate_links(known.containers, known.calls, totals).to_measure
    estimate = estimate_links(known.containers, known.calls, totals, measured=known.measurements(asked))
    assert 0 < len(asked) <= 5
    assert errors(estimate, known).max() <= 1e-9


@pytest.mark.parametrize("graph", [SOCIAL_NETWORK, MEDIA_MICROSERVICES], ids=["social-network", "media"])
def test_deathstarbench_with_one_percent_noise_stays_under_one_percent(graph: dict[str, tuple[str, ...]]) -> None:
    """Counters off by a normal 1 %: median error < 1 % in each of 20 seeds; measurements off as well: over all."""
    medians, all_noisy = [], []
    for seed in range(20):
        rng = np.random.default_rng([SEED, seed])
        known = known_traffic(calls_of(graph), rng)
        totals = known.totals(rng, noise=0.01)
        asked = estimate_links(known.containers, known.calls, totals).to_measure
        measured = known.measurements(asked)
        estimate = estimate_links(known.containers, known.calls, totals, measured=measured)
        medians.append(float(np.median(errors(estimate, known))))
        noisy = {ends: rate * (1 + 0.01 * rng.normal()) for ends, rate in measured.items()}
        all_noisy.append(errors(estimate_links(known.containers, known.calls, totals, measured=noisy), known))
    assert max(medians) < 0.01
    assert np.median(np.concatenate(all_noisy)) < 0.01


def test_skewed_counters_show_as_a_residual_and_less_confidence() -> None:
    """A service that sends 10 % outside the graph: no negative link, residual above 0, confidence below 1."""
    rng = np.random.default_rng(SEED)
    known = known_traffic(random_tree(12, rng), rng)
    totals = known.totals(rng)
    leaking = {name: round(sent * 1.1) for name, sent in totals.transmit_bytes.items()}
    skewed = WindowTotals(totals.window_s, totals.receive_bytes, leaking)
    estimate = estimate_links(known.containers, known.calls, skewed)
    assert 0.01 < estimate.residual < 0.2
    assert all(link.rate_bytes_per_s >= 0 and 0 <= link.confidence < 1 for link in estimate.links)


def test_exact_counters_give_full_confidence_outside_the_core() -> None:
    """A tree whose counters agree: nothing to doubt. A ring: nothing is pinned whole."""
    rng = np.random.default_rng(SEED)
    tree = known_traffic(random_tree(12, rng), rng)
    assert {link.confidence for link in estimate_links(tree.containers, tree.calls, tree.totals(rng)).links} == {1.0}
    ring = known_traffic([("a", "b"), ("b", "c"), ("c", "d"), ("d", "a")], rng)
    found = estimate_links(ring.containers, ring.calls, ring.totals(rng)).links
    assert all(link.method == "estimated" and 0 <= link.confidence < 1 for link in found)


@given(seeds, st.integers(2, 15), st.integers(0, 8), st.floats(0.0, 3.0))
def test_any_counters_give_finite_links_and_a_residual(seed: int, services: int, extra: int, noise: float) -> None:
    """However wrong the counters, links are finite and >= 0, confidence is in 0..1, the residual finite and >= 0."""
    rng = np.random.default_rng(seed)
    known = known_traffic(random_graph(services, extra, rng), rng)
    estimate = estimate_links(known.containers, known.calls, known.totals(rng, noise=noise))
    assert all(0 <= link.rate_bytes_per_s < np.inf and 0 <= link.confidence <= 1 for link in estimate.links)
    assert 0 <= estimate.residual < np.inf


@given(seeds, st.integers(2, 15), st.integers(0, 8))
def test_the_residual_is_what_its_definition_says(seed: int, services: int, extra: int) -> None:
    """Recomputed from the printed links: sums of links against counter rates, L1, per service and direction."""
    rng = np.random.default_rng(seed)
    known = known_traffic(random_graph(services, extra, rng), rng)
    totals = known.totals(rng, noise=0.3)
    estimate = estimate_links(known.containers, known.calls, totals)
    sent, received = dict.fromkeys(known.containers.values(), 0.0), dict.fromkeys(known.containers.values(), 0.0)
    for container, service in known.containers.items():
        sent[service] -= totals.transmit_bytes[container] / totals.window_s
        received[service] -= totals.receive_bytes[container] / totals.window_s
    counted = -sum(sent.values()) - sum(received.values())
    for link in estimate.links:
        sent[link.source] += link.rate_bytes_per_s
        received[link.target] += link.rate_bytes_per_s
    unexplained = sum(map(abs, sent.values())) + sum(map(abs, received.values()))
    assert estimate.residual == pytest.approx(unexplained / counted if counted else 0.0, abs=1e-9)


@settings(max_examples=30)
@given(seeds, st.integers(2, 12), st.integers(0, 6))
def test_links_scale_with_the_counters_and_ignore_order(seed: int, services: int, extra: int) -> None:
    """Ten times the bytes are ten times the links; the order of containers and calls changes nothing."""
    rng = np.random.default_rng(seed)
    known = known_traffic(random_graph(services, extra, rng), rng)
    totals = known.totals(rng)
    measured = known.measurements(estimate_links(known.containers, known.calls, totals).to_measure)
    one = rates(estimate_links(known.containers, known.calls, totals, measured=measured))
    longer = WindowTotals(totals.window_s / 10, totals.receive_bytes, totals.transmit_bytes)
    tenfold = {ends: 10 * rate for ends, rate in measured.items()}
    scaled = rates(estimate_links(known.containers, known.calls, longer, measured=tenfold))
    reversed_containers = dict(reversed(known.containers.items()))
    reordered = rates(estimate_links(reversed_containers, known.calls[::-1], totals, measured=measured))
    assert scaled == pytest.approx({ends: 10 * rate for ends, rate in one.items()}, rel=1e-6, abs=1e-3)
    assert reordered == pytest.approx(one, rel=1e-6, abs=1e-3)


def test_several_components_are_independent() -> None:
    """Two trees and a triangle in one file: the trees are exact whatever the triangle does."""
    rng = np.random.default_rng(SEED)
    known = known_traffic([("a", "b"), ("c", "d"), ("x", "y"), ("y", "z"), ("z", "x")], rng)
    estimate = estimate_links(known.containers, known.calls, known.totals(rng))
    methods = {link.source: link.method for link in estimate.links}
    assert methods == dict.fromkeys("abcd", "peeled") | dict.fromkeys("xyz", "estimated")
    assert len(estimate.to_measure) == 1
    assert estimate.to_measure[0] in "xyz"


def test_a_service_without_links_is_background_traffic() -> None:
    """Degree 0: no link can explain its bytes, so they are residual."""
    totals = WindowTotals(10.0, {"a-0": 100, "b-0": 50, "c-0": 20}, {"a-0": 50, "b-0": 100, "c-0": 80})
    estimate = estimate_links({"a-0": "a", "b-0": "b", "c-0": "c"}, [("a", "b")], totals)
    assert estimate.residual == pytest.approx(100 / 400)


def test_mutual_calls_are_one_link_of_two_directions() -> None:
    """a calls b and b calls a: each directed link stands once."""
    totals = WindowTotals(10.0, {"a-0": 100, "b-0": 50}, {"a-0": 50, "b-0": 100})
    estimate = estimate_links({"a-0": "a", "b-0": "b"}, [("a", "b"), ("b", "a"), ("a", "b")], totals)
    assert [(link.source, link.target, link.rate_bytes_per_s) for link in estimate.links] == [
        ("a", "b", 5.0),
        ("b", "a", 10.0),
    ]


def test_one_measured_direction_opens_that_direction_only() -> None:
    """On a square with one measured direction, that way round peels; the other stays open and asks for a service."""
    rng = np.random.default_rng(SEED)
    known = known_traffic([("a", "b"), ("b", "c"), ("c", "d"), ("d", "a")], rng)
    totals = known.totals(rng)
    measured = {("a", "b"): known.link_bytes["a", "b"] / WINDOW_S}
    estimate = estimate_links(known.containers, known.calls, totals, measured=measured)
    methods = {(link.source, link.target): link.method for link in estimate.links}
    exact = {ends for ends, method in methods.items() if method != "estimated"}
    assert exact == {("a", "b"), ("c", "b"), ("c", "d"), ("a", "d")}
    assert len(estimate.to_measure) == 1


def test_an_uncounted_container_does_not_spoil_what_the_other_side_knows() -> None:
    """Half of b's containers have no counter: the link comes from a's side, exact."""
    totals = WindowTotals(10.0, {"a-0": 100, "b-0": 20}, {"a-0": 50, "b-0": 60})
    estimate = estimate_links({"a-0": "a", "b-0": "b", "b-1": "b"}, [("a", "b")], totals)
    assert [(link.rate_bytes_per_s, link.method) for link in estimate.links] == [(5.0, "peeled"), (10.0, "peeled")]


def test_nobody_counted_is_no_knowledge() -> None:
    """No counters at all: links are zero, called estimates, with no confidence; not 'exactly nothing'."""
    estimate = estimate_links({"a-0": "a", "b-0": "b"}, [("a", "b")], WindowTotals(0.0, {}, {}))
    assert {(link.rate_bytes_per_s, link.method, link.confidence) for link in estimate.links} == {
        (0.0, "estimated", 0.0)
    }
    assert estimate.residual == 0.0


def test_nothing_gives_nothing() -> None:
    """Empty input is an empty picture."""
    estimate = estimate_links({}, [], WindowTotals(0.0, {}, {}))
    assert (estimate.links, len(estimate.container_links), estimate.to_measure, estimate.warnings) == ((), 0, (), ())


def test_a_measured_link_outside_the_calls_is_a_mistake_of_the_caller() -> None:
    """The message names both ends."""
    with pytest.raises(UnknownNameError, match="a to c"):
        estimate_links({"a-0": "a"}, [], WindowTotals(1.0, {}, {}), measured={("a", "c"): 1.0})


def test_an_unknown_strategy_is_refused() -> None:
    """The message lists those there are."""
    with pytest.raises(UnknownStrategyError, match=r"askew \| opttraffic"):
        estimate_links({}, [], WindowTotals(1.0, {}, {}), strategy="guess")
