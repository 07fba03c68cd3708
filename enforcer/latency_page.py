"""A container's request times, from the statistics page of its sidecar or the app's own Prometheus metrics.

Which histogram is meant: the one that the URL names after ``#``, or Envoy's for requests that come in, or the only one
of the page. Several label sets of it are added. Source: Prometheus text format 0.0.4; Envoy's statistics of the HTTP
connection manager (``downstream_rq_time``, milliseconds).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from enforcer.errors import LatencyUnreadableError

ENVOY = "envoy_http_downstream_rq_time"
ENVOY_NOT_IN = ("admin", "prometheus_stats", "outbound")  # listeners of a sidecar that take no requests for the app
ISTIO = "istio_request_duration_milliseconds"
_LABEL = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"')
_SAMPLE = re.compile(r"([A-Za-z_:][A-Za-z0-9_:]*)(?:\{(.*)\})? +(\S+)(?: +-?\d+)?")


@dataclass(frozen=True, slots=True)
class LatencySample:
    """Request times, cumulative over time and over buckets: ``counts[i]`` took at most ``bounds_ms[i]``."""

    time_s: float
    bounds_ms: tuple[float, ...]
    counts: tuple[int, ...]
    count: int
    sum_ms: float


@dataclass(slots=True)
class _Series:
    buckets: dict[float, float] = field(default_factory=dict)
    count: float = 0.0
    total: float = 0.0


def read_page(text: str, *, histogram: str, time_s: float) -> LatencySample:
    """Return the cumulative request times that a page shows.

    Parameters
    ----------
    histogram:
        The histogram's name; empty lets the page decide.

    Raises
    ------
    LatencyUnreadableError
        where there is no such histogram, or several could be meant.

    Examples
    --------
    >>> page = 'rq_seconds_bucket{le="0.1"} 3\\nrq_seconds_bucket{le="+Inf"} 4\\nrq_seconds_count 4\\n'
    >>> read_page(page, histogram="", time_s=0.0).bounds_ms
    (100.0,)
    """
    name = histogram or _meant(text)
    series = _added([one for labels, one in _series(text, name) if _counts(name, labels)])
    bounds = sorted(bound for bound in series.buckets if math.isfinite(bound))
    if not bounds:
        raise LatencyUnreadableError(f"found no histogram {name}, allowed: one of {_names(text)}")
    factor = 1000.0 if name.endswith(("_seconds", "_s")) else 1.0
    return LatencySample(
        time_s=time_s,
        bounds_ms=tuple(bound * factor for bound in bounds),
        counts=tuple(int(series.buckets[bound]) for bound in bounds),
        count=int(max(series.count, series.buckets.get(math.inf, 0.0))),
        sum_ms=series.total * factor,
    )


def is_envoys(text: str, *, histogram: str) -> bool:
    """Whether Envoy's own histogram of a page is meant.

    >>> is_envoys('envoy_http_downstream_rq_time_bucket{le="1"} 0', histogram="")
    True
    """
    return histogram in ("", ENVOY) and f"{ENVOY}_bucket{{" in text


def too_coarse(sample: LatencySample, target_ms: float, *, coarsest_ratio: float) -> str:
    """Return why a sample cannot show a slack around a target, one line; empty where it can.

    >>> too_coarse(LatencySample(0, (25.0, 50.0), (0, 0), 0, 0.0), 30.0, coarsest_ratio=1.3)
    'buckets of 25 and 50 ms around the target of 30 ms, allowed: at most 30 % apart'
    """
    below = max((bound for bound in sample.bounds_ms if bound <= target_ms), default=0.0)
    above = min((bound for bound in sample.bounds_ms if bound > target_ms), default=math.inf)
    if below and above <= below * coarsest_ratio:
        return ""
    apart = f"at most {(coarsest_ratio - 1.0) * 100.0:.0f} % apart"
    return f"buckets of {below:g} and {above:g} ms around the target of {target_ms:g} ms, allowed: {apart}"


def _meant(text: str) -> str:
    names = set(_names(text))
    for known in (ENVOY, ISTIO):
        if known in names:
            return known
    if len(names) == 1:
        return names.pop()
    shown = ", ".join(sorted(names)[:8]) or "none"
    raise LatencyUnreadableError(f"found the histograms {shown}, allowed: one of them after # in the URL")


def _counts(name: str, labels: Mapping[str, str]) -> bool:
    """Whether a label set is of requests that came in."""
    if name == ENVOY:
        return not labels.get("envoy_http_conn_manager_prefix", "").startswith(ENVOY_NOT_IN)
    return name != ISTIO or labels.get("reporter", "destination") == "destination"


def _names(text: str) -> list[str]:
    found = {line.partition("{")[0] for line in text.splitlines() if "_bucket{" in line}
    return sorted(name.removesuffix("_bucket") for name in found if name.endswith("_bucket"))


def _series(text: str, name: str) -> list[tuple[dict[str, str], _Series]]:
    found: dict[tuple[tuple[str, str], ...], _Series] = {}
    for line in text.splitlines():
        if not line.startswith(name):
            continue
        match = _SAMPLE.fullmatch(line.rstrip())
        if match is None:
            continue
        labels = dict(_LABEL.findall(match[2] or ""))
        bound = labels.pop("le", None)
        series = found.setdefault(tuple(sorted(labels.items())), _Series())
        try:
            _take(series, match[1].removeprefix(name), bound, float(match[3]))
        except ValueError as error:
            raise LatencyUnreadableError(f"found {line[:80]!a}, allowed: a number") from error
    return [(dict(labels), series) for labels, series in found.items()]


def _take(series: _Series, suffix: str, bound: str | None, value: float) -> None:
    if not math.isfinite(value):
        raise ValueError(value)
    if suffix == "_bucket" and bound is not None:
        series.buckets[float(bound)] = value
    elif suffix == "_count":
        series.count = value
    elif suffix == "_sum":
        series.total = value


def _added(parts: list[_Series]) -> _Series:
    """Add label sets; a bound that one of them lacks is left out."""
    whole = _Series()
    if not parts:
        return whole
    shared = set(parts[0].buckets).intersection(*(part.buckets for part in parts))
    whole.buckets = {bound: sum(part.buckets[bound] for part in parts) for bound in shared}
    whole.count, whole.total = sum(part.count for part in parts), sum(part.total for part in parts)
    return whole
