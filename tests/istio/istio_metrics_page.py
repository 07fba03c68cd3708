"""Istio's standard metrics as a scrape would find them, of pods that tests name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

BOUNDS_MS = (1.0, 5.0, 10.0, 25.0, 50.0)


def series(
    labels: Mapping[str, str], counts: Sequence[int], *, sum_ms: float, errors: int = 0, reporter: str = "destination"
) -> list[str]:
    """Return the lines of one pod: ``counts`` are cumulative over ``BOUNDS_MS`` and the last beyond them."""
    shared = {"reporter": reporter, **labels}
    text = ",".join(f'{key}="{value}"' for key, value in shared.items())
    lines = [
        f'istio_request_duration_milliseconds_bucket{{{text},le="{bound}"}} {count}'
        for bound, count in zip((*map(str, BOUNDS_MS), "+Inf"), counts, strict=True)
    ]
    return [
        *lines,
        f"istio_request_duration_milliseconds_sum{{{text}}} {sum_ms}",
        f"istio_request_duration_milliseconds_count{{{text}}} {counts[-1]}",
        f'istio_requests_total{{{text},response_code="200"}} {counts[-1] - errors}',
        f'istio_requests_total{{{text},response_code="503"}} {errors}',
    ]


def pod(
    name: str, service: str = "shop", *, source: str = "web", names: tuple[str, str] = ("namespace", "pod")
) -> dict[str, str]:
    """Return the labels of a pod of ``service`` that ``source`` calls."""
    host = f"{service}.default.svc.cluster.local"
    where = {names[0]: "default", names[1]: name} if names[0] else {}
    caller = {"source_workload": source, "source_workload_namespace": "default"}
    return {**where, **caller, "destination_service": host}


class ByteCounts:
    """The lines of Istio's byte metrics between workloads of ``default``; a Service has its workload's name."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def http(self, client: str, server: str, sent: float, received: float, **more: str) -> None:
        """Add what was requested and answered so far."""
        self._add("istio_request_bytes_sum", client, server, sent, more)
        self._add("istio_response_bytes_sum", client, server, received, more)

    def tcp(self, client: str, server: str, sent: float, received: float, **more: str) -> None:
        """Add what the client sent and got so far: its sidecar received the former and sent the latter."""
        self._add("istio_tcp_received_bytes_total", client, server, sent, more)
        self._add("istio_tcp_sent_bytes_total", client, server, received, more)

    def requests(self, client: str, server: str, count: float, **more: str) -> None:
        """Add how often it was called so far, which tells no bytes."""
        self._add("istio_requests_total", client, server, count, more)

    def page(self) -> str:
        """Return the page."""
        return "\n".join(self._lines) + "\n"

    def _add(self, metric: str, client: str, server: str, value: float, more: Mapping[str, str]) -> None:
        labels = {
            "namespace": "default",
            "source_workload": client,
            "source_workload_namespace": "default",
            "destination_workload": server,
            "destination_workload_namespace": "default",
            "destination_service": f"{server}.default.svc.cluster.local",
            "destination_service_name": server,
            "destination_service_namespace": "default",
        } | dict(more)
        text = ",".join(f'{key}="{found}"' for key, found in labels.items())
        self._lines.append(f"{metric}{{{text}}} {value}")
