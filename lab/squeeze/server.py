"""One server of the experiment: requests burn CPU; its page shows how long they took since they were planned.

Run as ``python -m lab.squeeze.server PORT SERVICE_MS``. It works on one request at a time. A request carries the
instant for which the open-loop load had planned it (``x-planned-ns``, CLOCK_MONOTONIC): waiting anywhere counts.
"""

from __future__ import annotations

import asyncio
import sys
import time
from bisect import bisect_left

from lab.http_wire import Request, Response, ServerConnection

PLANNED = "x-planned-ns"


def bounds_ms() -> tuple[float, ...]:
    """Return bucket bounds 10 % apart from 1 ms to 10 s."""
    bounds = [1.0]
    while bounds[-1] < 10_000.0:
        bounds.append(round(bounds[-1] * 1.1, 3))
    return tuple(bounds)


class Server:
    """Burns ``service_ms`` of CPU time for each request, and keeps a histogram."""

    def __init__(self, service_ms: float) -> None:
        self._service_s = service_ms / 1000.0
        self._bounds_ms = bounds_ms()
        self._counts = [0] * (len(self._bounds_ms) + 1)
        self._sum_ms = 0.0

    async def answer(self, request: Request) -> Response:
        """Answer a request; ``/metrics`` costs nothing and is not counted."""
        if request.path == "/metrics":
            return Response(200, self.page().encode())
        end_s = time.process_time() + self._service_s
        while time.process_time() < end_s:
            pass
        took_ms = (time.monotonic_ns() - int(request.headers[PLANNED])) / 1e6
        self._counts[bisect_left(self._bounds_ms, took_ms)] += 1
        self._sum_ms += took_ms
        return Response(200, f"{took_ms:.3f}".encode())

    def page(self) -> str:
        """Return the histogram as Prometheus text."""
        lines, below = [], 0
        for bound, count in zip(self._bounds_ms, self._counts, strict=False):
            below += count
            lines.append(f'request_ms_bucket{{le="{bound:g}"}} {below}')
        total = sum(self._counts)
        tail = [
            f'request_ms_bucket{{le="+Inf"}} {total}',
            f"request_ms_sum {self._sum_ms}",
            f"request_ms_count {total}",
        ]
        return "\n".join([*lines, *tail]) + "\n"


async def _serve(port: int, service_ms: float) -> None:
    server = Server(service_ms)
    listening = await asyncio.get_running_loop().create_server(
        lambda: ServerConnection(server.answer), "127.0.0.1", port
    )
    async with listening:
        await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
