"""Bytes that only a real Prometheus tells of, from its scrapes to the score of a node for a new pod."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.askew.told_cluster import ALL_NODES, WINDOW_S, told_plane
from tests.istio.cluster_objects import pod
from tests.istio.istio_metrics_page import ByteCounts
from tests.real.outside_process import until
from tests.real.prometheus import missing

EXPECTED = pytest.approx(
    {
        ("workload:web.default", "reviews.default"): 2000.0,
        ("reviews.default", "workload:web.default"): 8000.0,
        ("reviews.default", "db.default"): 3000.0,
        ("db.default", "reviews.default"): 1000.0,
    },
    rel=0.15,
)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing() or "-")]


class Cluster:
    """Sidecars of two pods ``web`` and one ``reviews``: web exchanges 10,000 bytes/s with reviews, reviews 4,000 with
    ``db``, over TCP and without a sidecar. One of web's begins anew in the middle.
    """

    def __init__(self) -> None:
        self.began_s, self.restarted_s, self.restarted, self.is_silent = time.time(), 0.0, False, False

    def page(self) -> str:
        """Return what all three pages would hold; both sidecars of a call tell of it."""
        if self.is_silent:
            return ""
        now_s, counts = time.time(), ByteCounts()
        seconds = now_s - self.began_s
        if seconds > WINDOW_S and not self.restarted:
            self.restarted, self.restarted_s = True, now_s
        for reporter in ("source", "destination"):
            second = now_s - self.restarted_s if self.restarted else seconds
            for name, grown in (("web-1", seconds), ("web-2", second)):
                where = name if reporter == "source" else "reviews-1"
                more = {"from_pod": name}  # two series; Istio has one for each response code or the like
                counts.http("web", "reviews", 1000.0 * grown, 4000.0 * grown, reporter=reporter, pod=where, **more)
        counts.tcp("reviews", "db", 3000.0 * seconds, 1000.0 * seconds, reporter="source", pod="reviews-1")
        counts.http("unknown", "reviews", 9e9 * seconds, 0.0, reporter="destination", pod="reviews-1")
        return counts.page()


async def test_a_new_pod_is_drawn_by_bytes_that_a_prometheus_counted(tmp_path: Path) -> None:
    """Each byte once, TCP too, over a restart, with method, confidence and age; silence ends it, and is told."""
    cluster = Cluster()
    async with told_plane(tmp_path, cluster.page) as told:
        links, note = told.links, told.note

        async def scores() -> dict[str, int]:
            fresh = pod("reviews-7d9f-zzzzz", labels={"app": "reviews"}, owner=("ReplicaSet", "reviews-7d9f"))
            question = {"Pod": fresh, "NodeNames": ALL_NODES}
            async with told.http.post(f"{told.own}/scheduler/prioritize", json=question) as answer:
                return {one["Host"]: one["Score"] for one in await answer.json()}

        assert await scores() == {"n1": 0, "n2": 0, "n3": 0}

        async def settled() -> bool:
            rates = {ends: one["bytes_per_s"] for ends, one in (await links()).items()}
            return cluster.restarted and time.time() - cluster.restarted_s > WINDOW_S / 2 and rates == EXPECTED

        await until(settled)
        found = await links()
        assert {one["method"] for one in found.values()} == {"prometheus"}
        assert found["reviews.default", "workload:web.default"]["confidence"] == pytest.approx(1.0, abs=0.1)
        assert found["db.default", "reviews.default"]["confidence"] == 0.5  # db has no sidecar that could confirm it
        assert all(0.0 <= one["age_s"] < 2 * WINDOW_S for one in found.values())
        score = await scores()
        assert (score["n1"], score["n2"]) == (0, 10)
        assert score["n3"] in (3, 4, 5)  # 0.4 of web's; counted by both sides web's would be twice as much, and n3 2
        assert "bytes between services by reporter source; left out: series of callers without a name" in await note()

        cluster.is_silent = True

        async def gone() -> bool:
            return not await links() and "no bytes between services; left out: no series istio_request" in await note()

        await until(gone)
        assert await scores() == {"n1": 0, "n2": 0, "n3": 0}
