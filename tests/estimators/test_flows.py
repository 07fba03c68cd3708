"""NetMARKS' flow formula and the EWMA."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators.errors import UnknownStrategyError
from estimators.flows import FlowSample, estimate_flows

growth = st.lists(st.tuples(st.integers(1, 100), st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=20)


def stream(steps: list[tuple[int, int, int]], *, reporter: str = "") -> list[FlowSample]:
    """Return samples that start at zero and grow by (seconds, request bytes, response bytes)."""
    samples = [FlowSample(0.0, "a", "b", 0, 0, reporter)]
    for seconds, requests, responses in steps:
        last = samples[-1]
        samples.append(
            FlowSample(
                last.time_s + seconds,
                "a",
                "b",
                last.request_bytes + requests,
                last.response_bytes + responses,
                reporter,
            )
        )
    return samples


def rate(samples: list[FlowSample], **how: object) -> float:
    (flow,) = estimate_flows(samples, **how).flows  # type: ignore[arg-type]
    return flow.rate_bytes_per_s


@given(growth)
def test_the_papers_formula_telescopes(steps: list[tuple[int, int, int]]) -> None:
    """Without resets the recursion is (last − first) / (t − t0), whatever lies between."""
    total_bytes = sum(requests + responses for _, requests, responses in steps)
    total_s = sum(seconds for seconds, _, _ in steps)
    assert rate(stream(steps), method="mean") == pytest.approx(total_bytes / total_s)


@given(growth, st.randoms())
def test_order_does_not_matter(steps, random) -> None:  # type: ignore[no-untyped-def]
    """Samples are sorted by time per pair."""
    samples = stream(steps)
    shuffled = list(samples)
    random.shuffle(shuffled)
    assert estimate_flows(shuffled) == estimate_flows(samples)


@given(growth, st.floats(0.01, 1000))
def test_an_ewma_stays_between_the_slowest_and_the_fastest_interval(
    steps: list[tuple[int, int, int]], half_life_s: float
) -> None:
    """It is an average of the intervals' rates."""
    rates = [(requests + responses) / seconds for seconds, requests, responses in steps]
    found = rate(stream(steps), half_life_s=half_life_s)
    assert min(rates) * (1 - 1e-9) <= found <= max(rates) * (1 + 1e-9)


def test_an_old_rate_counts_half_after_its_half_life() -> None:
    """From 10 to 30 bytes/s, one half-life later: 20."""
    samples = stream([(60, 600, 0), (60, 1800, 0)])
    assert rate(samples, half_life_s=60.0) == pytest.approx(20.0)


def test_ewma_is_the_default_with_a_minute() -> None:
    """No method named: EWMA, half-life 60 s."""
    samples = stream([(60, 600, 0), (60, 1800, 0)])
    assert rate(samples) == rate(samples, method="ewma", half_life_s=60.0)


def test_each_counter_restarts_by_itself() -> None:
    """Requests fell from 500 to 40: they count 40; responses went on by 60."""
    samples = [FlowSample(0, "a", "b", 500, 0), FlowSample(10, "a", "b", 40, 60)]
    assert rate(samples, method="mean") == 10.0


def test_only_one_reporter_counts() -> None:
    """Both sides report the same bytes: destination's are taken, in either order."""
    samples = stream([(10, 100, 0)], reporter="source") + stream([(10, 80, 0)], reporter="destination")
    assert rate(samples, method="mean") == rate(samples[::-1], method="mean") == 8.0


def test_directions_are_two_flows() -> None:
    """a to b and b to a are separate ordered pairs, in order of appearance."""
    back = [FlowSample(s.time_s, "b", "a", s.request_bytes, s.response_bytes) for s in stream([(10, 50, 0)])]
    flows = estimate_flows(back + stream([(10, 100, 0)]), method="mean").flows
    assert [(flow.source, flow.rate_bytes_per_s) for flow in flows] == [("b", 5.0), ("a", 10.0)]


def test_one_sample_is_no_flow() -> None:
    """A pair needs two usable samples."""
    assert estimate_flows([FlowSample(0, "a", "b", 5, 5)]).flows == ()


def test_bad_samples_are_left_out_and_named() -> None:
    """NaN, and a second value of one time: one warning each, the rest counts."""
    samples = [*stream([(10, 100, 0)]), FlowSample(5, "a", "b", math.nan, 0), FlowSample(10, "a", "b", 170, 0)]
    estimate = estimate_flows(samples, method="mean")
    assert estimate.flows[0].rate_bytes_per_s == 10.0
    assert len(estimate.warnings) == 2
    assert all(text.startswith("flow a to b: ") for text in estimate.warnings)


@given(st.lists(st.builds(FlowSample, st.floats(), st.just("a"), st.just("b"), st.floats(), st.floats()), max_size=10))
def test_whatever_comes_no_flow_is_negative_or_nan(samples: list[FlowSample]) -> None:
    """Any floats at all, with either method."""
    for method in ("mean", "ewma"):
        assert all(flow.rate_bytes_per_s >= 0 for flow in estimate_flows(samples, method=method).flows)


def test_an_unknown_method_is_refused() -> None:
    """The message lists those there are."""
    with pytest.raises(UnknownStrategyError, match=r"mean \| ewma"):
        estimate_flows([], method="median")
