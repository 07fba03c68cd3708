"""Windows of endpoints as figures for the picture: mean and quantiles with their counts and ages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median

from estimators.endpoint_windows import EndpointWindow
from estimators.latency import figure_of
from estimators.sidecar_counters import Sidecars
from mesh.picture import EndpointFigure
from mesh.topology import Container, ContainerName, ServicePort

PERCENTILES = (50.0, 95.0, 99.0)


def endpoint_figures(
    windows: Mapping[ServicePort, Mapping[ContainerName, EndpointWindow]], *, now_s: float
) -> Mapping[ServicePort, Mapping[ContainerName, EndpointFigure]]:
    """Return the figures of each endpoint's window; latencies are None where too few requests ended. O(buckets)."""
    return {
        service_port: {name: _figure(window, now_s=now_s) for name, window in of_port.items()}
        for service_port, of_port in windows.items()
    }


def source_interval_s(sidecars: Sidecars, containers: Iterable[Container], *, tick_s: float) -> float:
    """Return the interval in which ages of these containers count: the tick, or what their sidecars usually take.

    The median, so that one that was away does not make the others seem young.
    """
    heard = [sidecars[one.name].heard.interval_s for one in containers if one.name in sidecars]
    return max(tick_s, median(heard)) if heard else tick_s


def _figure(window: EndpointWindow, *, now_s: float) -> EndpointFigure:
    latency = window.latency
    read = [figure_of(latency, percentile=percentile, now_s=now_s) for percentile in PERCENTILES]
    mean = next((one.mean_ms for one in read if one is not None), None)
    p50, p95, p99 = (None if one is None or one.tail is None else one.tail.value_ms for one in read)
    seconds = latency.end_s - latency.start_s
    return EndpointFigure(
        requests=latency.count,
        failures=window.failures,
        issued=window.issued,
        window_s=seconds,
        age_s=max(0.0, now_s - latency.end_s),
        load_per_s=latency.count / seconds if seconds > 0.0 else 0.0,
        mean_ms=mean,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
    )
