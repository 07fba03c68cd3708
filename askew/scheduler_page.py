"""``POST /scheduler/prioritize``: kube-scheduler asks where a pod should go, and is answered from memory.

Nothing here waits for anything but the request's own bytes. An answer that does not come does no harm: kube-scheduler
goes on with its own scores.
"""

from __future__ import annotations

import time

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram

from askew.pod_placing import PodPlacer
from istio.extender import host_priorities, read_asked
from mesh.errors import BadInputError

LARGEST_BYTES = 4 * 1024 * 1024
"""Names of 50,000 nodes; a few hundred whole Nodes, which ``nodeCacheCapable: true`` spares everybody."""

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5)


class SchedulerPage:
    """Answers kube-scheduler from what ``placer`` knows."""

    def __init__(self, placer: PodPlacer, registry: CollectorRegistry) -> None:
        self._placer = placer
        self._requests = Counter(
            "askew_scheduler_requests",
            "Questions of kube-scheduler by what was answered.",
            ["result"],
            registry=registry,
        )
        self._seconds = Histogram(
            "askew_scheduler_seconds", "From a question's last byte to its answer.", buckets=_BUCKETS, registry=registry
        )

    def routes(self) -> list[web.RouteDef]:
        """Return the route; the root mounts it."""
        return [web.post("/scheduler/prioritize", self._prioritize)]

    async def _prioritize(self, request: web.Request) -> web.Response:
        body = await _read(request)
        started_s = time.perf_counter()
        if body is None:
            return self._refused(f"body: found more than {LARGEST_BYTES} bytes, allowed: nodeCacheCapable: true", 413)
        try:
            asked = read_asked(body)
        except BadInputError as error:
            return self._refused(str(error), 400)
        scores = self._placer.scores(asked.pod, asked.nodes)
        self._requests.labels("scored" if any(scores) else "equal").inc()
        answer = web.json_response(host_priorities(asked.nodes, scores))
        self._seconds.observe(time.perf_counter() - started_s)
        return answer

    def _refused(self, why: str, status: int) -> web.Response:
        self._requests.labels("refused").inc()
        return web.json_response({"error": why}, status=status)


async def _read(request: web.Request) -> bytes | None:
    """Return the body, None for one that is too large; what is too large is not kept."""
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > LARGEST_BYTES:
            return None
    return bytes(body)
