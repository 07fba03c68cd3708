"""What a container says of its own load with every answer: ORCA, for the balancers that ask for it.

Source: xds ``data.orca.v3.OrcaLoadReport``; Envoy reads the response header ``endpoint-load-metrics`` in the form
``TEXT name=value, name=value``.
"""

from __future__ import annotations

from collections.abc import Mapping

from lab.service_queue import ServiceQueue

HEADER = "endpoint-load-metrics"
WINDOW_S = 1.0


class LoadMeter:
    """Utilisation of a queue's workers and answers per second, over windows of at least ``WINDOW_S``.

    Utilisation is the part of the workers' time that was busy, as a processor's would be: never above 1, however long
    the queue is. Nothing is said before the first window is full.
    """

    def __init__(self, queue: ServiceQueue, *, workers: int) -> None:
        self._queue, self._workers = queue, workers
        self._since_s, self._served, self._busy_s = 0.0, 0, 0.0
        self._headers: Mapping[str, str] = {}

    def headers(self, now_s: float) -> Mapping[str, str]:
        """Return the headers to add to an answer that goes out now."""
        passed_s = now_s - self._since_s
        if passed_s < WINDOW_S:
            return self._headers
        state = self._queue.state
        if self._since_s and passed_s < 10.0 * WINDOW_S:  # after a long quiet it would be a mean of then and now
            utilisation = min(1.0, (state.busy_s - self._busy_s) / (self._workers * passed_s))
            rate_per_s = (state.served - self._served) / passed_s
            report = f"TEXT application_utilization={utilisation:.4f}, rps_fractional={rate_per_s:.2f}"
            self._headers = {HEADER: report}
        self._since_s, self._served, self._busy_s = now_s, state.served, state.busy_s
        return self._headers
