"""What only cAdvisor counts, from a real Prometheus' scrapes to a cluster's links, and what gaps leave of them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.askew.told_cluster import WINDOW_S, told_plane
from tests.istio.cluster_objects import service
from tests.istio.istio_metrics_page import ByteCounts
from tests.real.outside_process import until
from tests.real.prometheus import missing

WEB, REVIEWS, DB = "workload:web.default", "reviews.default", "db.default"
PODS = {"web-1": (6000.0, 700.0), "web-2": (2000.0, 9300.0), "reviews-1": (3000.0, 11_000.0), "db-1": (3000.0, 1000.0)}
"""What each receives and sends a second: web 2,000 to reviews and 8,000 back, less what it has from elsewhere."""
LINKS = {(WEB, REVIEWS): 2000.0, (REVIEWS, WEB): 8000.0, (REVIEWS, DB): 3000.0, (DB, REVIEWS): 1000.0}
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing() or "-")]


class Cluster:
    """Istio's sidecars tell who calls whom and no bytes; cAdvisor counts pods, with the gaps that are asked for."""

    def __init__(self) -> None:
        self.began_s, self.is_doubled, self.names_pods = time.time(), False, True
        self.one_way: set[str] = set()

    def page(self) -> str:
        counts, seconds = ByteCounts(), time.time() - self.began_s
        for reporter in ("source", "destination"):
            counts.requests("web", "reviews", 10 * seconds, reporter=reporter, pod=f"web-{reporter}")
        counts.requests("reviews", "db", 10 * seconds, reporter="source", pod="reviews-1")
        lines = [line for name in PODS for line in self._counters(name, seconds)]
        return counts.page() + "\n".join(lines) + "\n"

    def _counters(self, name: str, seconds: float) -> list[str]:
        received, sent = PODS[name]
        labels = f'namespace="default",pod="{name}",' if self.names_pods else ""
        ids = [f'id="/kubepods/{name}",interface="eth0"']
        if self.is_doubled:
            ids.append(f'id="/kubepods/{name}",interface="eth0",image="again"')
        return [
            f"container_network_{direction}_bytes_total{{{labels}{one}}} {7000 + rate * seconds}"
            for direction, rate in (("receive", received), ("transmit", sent))
            if direction == "receive" or name not in self.one_way
            for one in ids
        ]


async def test_pods_counters_become_links_as_far_as_they_go(tmp_path: Path) -> None:
    """Each link once, also where series are doubled; what lacks a direction, or pods' names, gives none."""
    cluster = Cluster()
    async with told_plane(tmp_path, cluster.page) as told:
        links, note = told.links, told.note

        async def are(expected: dict[tuple[str, str], float]) -> bool:
            rates = {ends: one["bytes_per_s"] for ends, one in (await links()).items()}
            return rates == pytest.approx(expected, rel=0.1)

        async def says(text: str) -> bool:
            return text in await note()

        await until(lambda: says("no bytes between services; left out: no series istio_request"))
        assert (await links(), "pods received" in await note()) == ({}, False)  # no service asks for a plan

        told.api.put(service(routing="local-first"))
        await until(lambda: are(LINKS))
        found = await links()
        assert {one["method"] for one in found.values()} == {"cadvisor"}
        assert all(0.4 < one["confidence"] <= 0.5 for one in found.values())
        assert all(0.0 <= one["age_s"] < 2 * WINDOW_S for one in found.values())
        assert await says("; links by what pods received and sent")

        cluster.is_doubled = True
        doubled_s = time.time()

        async def settled() -> bool:
            return time.time() - doubled_s > 2 * WINDOW_S

        await until(settled)
        assert await are(LINKS)

        cluster.one_way = {"web-2"}
        await until(lambda: are({ends: rate for ends, rate in LINKS.items() if WEB not in ends}))
        await until(lambda: says("pods with one direction only"))
        assert await says("links that nobody confirms")

        cluster.names_pods = False
        await until(lambda: are({}))
        await until(lambda: says("; series without a pod's labels"))
        assert await says("; no links by what pods received and sent; left out: ")
