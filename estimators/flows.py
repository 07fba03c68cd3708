"""Flows between workloads from Istio's request and response byte sums (NetMARKS, INFOCOM 2021).

The paper's mean never forgets: hours after a change it still shows the past. It is here as ``mean``; ``ewma`` is the
default.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from estimators.counters import SAME_TIME_S, Reason, increase_of, is_count
from estimators.errors import UnknownStrategyError

METHODS = ("mean", "ewma")
HALF_LIFE_S = 60.0
REPORTERS = ("destination", "", "source")  # best first; both count the same bytes, so only one of them may


@dataclass(frozen=True, slots=True)
class FlowSample:
    """Cumulative bytes of requests from ``source`` to ``target``, and of the responses to them."""

    time_s: float
    source: str
    target: str
    request_bytes: float
    response_bytes: float
    reporter: str = ""


@dataclass(frozen=True, slots=True)
class FlowMemory:
    """What must be kept of one ordered pair between two samples."""

    first_time_s: float
    last: FlowSample
    intervals: int = 0
    rate_bytes_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Flow:
    """Bytes per second of ``source``'s requests to ``target`` and of their responses, together."""

    source: str
    target: str
    rate_bytes_per_s: float


@dataclass(frozen=True, slots=True)
class FlowEstimate:
    """One flow per ordered pair with two usable samples or more, in order of first appearance."""

    flows: tuple[Flow, ...]
    warnings: tuple[str, ...]


def advance(
    memory: FlowMemory, sample: FlowSample, *, method: str = "ewma", half_life_s: float = HALF_LIFE_S
) -> FlowMemory:
    """Return the memory after one later sample of the pair.

    ``mean`` is NetMARKS' formula, ``F(t_i) = F(t_{i−1})·(t_{i−1}−t_0)/(t_i−t_0) + Δ/(t_i−t_0)``, where Δ is the growth
    of requests and responses. ``ewma``: the first interval's rate, then ``F + (1 − 2^(−Δt/half_life))·(rate − F)``. A
    counter below its last value has restarted: Δ is the new value.

    Parameters
    ----------
    memory:
        Of the same pair; ``sample`` is later than ``memory.last``.
    method:
        ``mean`` or ``ewma``.
    half_life_s:
        Time after which an old rate counts half; > 0; ``ewma`` only.

    Examples
    --------
    >>> first = FlowSample(0.0, "a", "b", 0, 0)
    >>> later = advance(FlowMemory(0.0, first), FlowSample(10.0, "a", "b", 60, 40), method="mean")
    >>> later.rate_bytes_per_s, advance(later, FlowSample(20.0, "a", "b", 60, 40), method="mean").rate_bytes_per_s
    (10.0, 5.0)
    """
    last = memory.last
    elapsed_s = sample.time_s - last.time_s
    grown = increase_of(last.request_bytes, sample.request_bytes)
    grown += increase_of(last.response_bytes, sample.response_bytes)
    if method == "mean":
        so_far_s = sample.time_s - memory.first_time_s
        kept = memory.rate_bytes_per_s * ((last.time_s - memory.first_time_s) / so_far_s)
        rate = kept + grown / so_far_s
    elif memory.intervals == 0:
        rate = grown / elapsed_s
    else:
        weight = -math.expm1(-math.log(2) * elapsed_s / half_life_s)
        rate = memory.rate_bytes_per_s + weight * (grown / elapsed_s - memory.rate_bytes_per_s)
    return replace(memory, last=sample, intervals=memory.intervals + 1, rate_bytes_per_s=rate)


def estimate_flows(
    samples: Iterable[FlowSample], *, method: str = "ewma", half_life_s: float = HALF_LIFE_S
) -> FlowEstimate:
    """Estimate the flow of every ordered pair of workloads.

    Parameters
    ----------
    samples:
        In any order. Where a pair was reported from both sides, only ``destination`` counts.
    method, half_life_s:
        As for ``advance``.

    Returns
    -------
    FlowEstimate
        O(n log n). Samples with NaN, negative or infinite values, and second samples of one time, are left out with
        a warning.

    Raises
    ------
    UnknownStrategyError
        for another method.

    Examples
    --------
    >>> stream = [FlowSample(10.0, "a", "b", 900, 100), FlowSample(0.0, "a", "b", 0, 0)]
    >>> estimate_flows(stream, method="mean").flows
    (Flow(source='a', target='b', rate_bytes_per_s=100.0),)
    """
    if method not in METHODS:
        raise UnknownStrategyError(method, METHODS)
    by_pair: dict[tuple[str, str], dict[str, list[FlowSample]]] = {}
    for sample in samples:
        by_reporter = by_pair.setdefault((sample.source, sample.target), {})
        by_reporter.setdefault(sample.reporter, []).append(sample)
    flows = []
    warnings: dict[str, None] = {}
    for (source, target), by_reporter in by_pair.items():
        best = min(by_reporter, key=_rank)
        memory, reasons = _follow(by_reporter[best], method=method, half_life_s=half_life_s)
        for reason in reasons:
            warnings[f"flow {source} to {target}: {reason.value}, sample not used"] = None
        if memory is not None and memory.intervals > 0:
            flows.append(Flow(source, target, memory.rate_bytes_per_s))
    return FlowEstimate(tuple(flows), tuple(warnings))


def _rank(reporter: str) -> tuple[int, str]:
    return (REPORTERS.index(reporter) if reporter in REPORTERS else len(REPORTERS), reporter)


def _follow(
    samples: Sequence[FlowSample], *, method: str, half_life_s: float
) -> tuple[FlowMemory | None, list[Reason]]:
    good = [s for s in samples if is_count(s.request_bytes) and is_count(s.response_bytes) and math.isfinite(s.time_s)]
    reasons = [Reason.NOT_A_COUNT] * (len(samples) - len(good))
    memory = None
    for sample in sorted(good, key=lambda sample: sample.time_s):
        if memory is None:
            memory = FlowMemory(sample.time_s, sample)
        elif sample.time_s - memory.last.time_s < SAME_TIME_S:
            same = (sample.request_bytes, sample.response_bytes) == (
                memory.last.request_bytes,
                memory.last.response_bytes,
            )
            reasons.append(Reason.REPEATED if same else Reason.DUPLICATE)
        else:
            memory = advance(memory, sample, method=method, half_life_s=half_life_s)
    return memory, reasons
