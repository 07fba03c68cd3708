"""When pods' own counters are asked for, and what is said of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from askew.control_loop import Memory
from askew.link_reading import LinkReading
from estimators.known_calls import KnownCalls
from istio.errors import SourceUnavailableError
from istio.network_counters import RECEIVE
from istio.prometheus import Answer, Prometheus, Series
from mesh.mesh_file import parse_mesh_file
from mesh.picture import Link, Picture
from mesh.topology import Call, Service, ServiceName, Topology
from tests.istio.istio_metrics_page import pod

TOPOLOGY = parse_mesh_file("""
apiVersion: askew.mesh/v1
nodes: [{name: n1}]
services:
  - {name: web, containers: [{name: web-1, node: n1, address: 10.0.0.1}]}
  - name: shop
    port: 80
    annotations: {askew.mesh/routing: local-first}
    containers: [{name: shop-1, node: n1, address: 10.0.0.2}]
calls: [{from: web, to: shop}]
""")
NOTHING = Memory()
CALL = Call(ServiceName("web.default"), ServiceName("shop.default"))
UNMANAGED = replace(
    TOPOLOGY, services=tuple(replace(one, policy=replace(one.policy, routing="off")) for one in TOPOLOGY.services)
)
WORKLOAD = ServiceName("workload:web.default")
BY_WORKLOAD = replace(
    TOPOLOGY,
    services=(
        Service(WORKLOAD, containers=tuple(replace(one, service=WORKLOAD) for one in TOPOLOGY.services[0].containers)),
        TOPOLOGY.services[1],
    ),
    calls=(Call(WORKLOAD, ServiceName("shop.default")),),
)
ISTIOS = pod("web-1") | {"reporter": "source"}
MEASURED = tuple(
    Link(*ends, 5.0, "measured") for ends in (("web.default", "shop.default"), ("shop.default", "web.default"))
)


class Cadvisor(Prometheus):
    """Says that both pods exchange 10 bytes/s one way and 90 the other; nothing else."""

    def __init__(self) -> None:
        self.asked, self.is_away, self.has_istio = list[str](), False, False
        self.labels: dict[str, dict[str, str]] = {
            name: {"namespace": "default", "pod": name, "interface": "eth0"} for name in ("web-1", "shop-1")
        }

    async def instant(self, query: str, *, time_s: float | None = None) -> Answer:
        if "rate(istio_request_bytes_sum" in query and self.has_istio:
            return Answer((Series(ISTIOS, ((time_s or 0.0, 7.0),)),))
        if "container_network" not in query:
            return Answer(())
        self.asked.append(query)
        if self.is_away:
            raise SourceUnavailableError("no answer")
        received, sent = {"web-1": (90.0, 10.0), "shop-1": (10.0, 90.0)}, RECEIVE not in query
        now_s = time_s or 0.0
        return Answer(
            tuple(
                Series(labels, ((now_s, now_s - 5.0 if "timestamp" in query else received[name][sent]),))
                for name, labels in self.labels.items()
            )
        )


def reading(
    prometheus: Prometheus, *, memory: Memory = NOTHING, links: tuple[Link, ...] = (), errors: list[int] | None = None
) -> LinkReading:
    failed: list[int] = [] if errors is None else errors
    return LinkReading(
        prometheus, window_s=300.0, seen=lambda: (memory, Picture(links=links)), on_error=lambda: failed.append(1)
    )


async def test_pods_are_asked_for_five_times_a_window() -> None:
    """Their counters become links of method cadvisor, and the note says so."""
    prometheus = Cadvisor()
    asking = reading(prometheus)
    for now_s in range(1000, 1301, 15):
        await asking.read(TOPOLOGY, now_s=float(now_s))
    assert len(prometheus.asked) == 6 * 3
    assert [(one.source, one.rate_bytes_per_s, one.method, one.time_s) for one in asking.told.links] == [
        ("shop.default", 90.0, "cadvisor", 1295.0), ("web.default", 10.0, "cadvisor", 1295.0)]  # fmt: skip
    assert asking.note.endswith("; links by what pods received and sent")


@pytest.mark.parametrize(
    ("topology", "memory", "links"),
    [
        (UNMANAGED, Memory(), ()),
        (replace(TOPOLOGY, calls=None), Memory(), ()),
        (TOPOLOGY, Memory(), MEASURED),
        (TOPOLOGY, Memory(), tuple(replace(link, method="agent") for link in MEASURED)),
    ],
    ids=["no service is planned for", "nobody is known to call", "sidecars measure all", "agents measure all"],
)
async def test_nothing_is_asked_for_what_nobody_needs(
    topology: Topology, memory: Memory, links: tuple[Link, ...]
) -> None:
    """Neither a query nor a word in the note."""
    prometheus = Cadvisor()
    asking = reading(prometheus, memory=memory, links=links)
    await asking.read(topology, now_s=1000.0)
    assert (prometheus.asked, asking.told.links) == ([], ())
    assert "pods" not in asking.note


async def test_what_istio_told_long_ago_is_open_again() -> None:
    """While it counts pods are not asked; an exchange whose pods are gone counts for one window more."""
    prometheus = Cadvisor()
    prometheus.has_istio = True
    asking = reading(prometheus)
    await asking.read(BY_WORKLOAD, now_s=1000.0)
    assert {one.method for one in asking.told.links} == {"prometheus"}
    prometheus.has_istio = False
    await asking.read(BY_WORKLOAD, now_s=1300.0)
    assert prometheus.asked == []
    await asking.read(BY_WORKLOAD, now_s=1361.0)
    assert len(prometheus.asked) == 3


async def test_calls_that_were_learnt_are_enough() -> None:
    """Where the mesh does not say who calls whom."""
    asking = reading(Cadvisor(), memory=Memory(calls=KnownCalls(calls={CALL: 0.0})))
    await asking.read(replace(TOPOLOGY, calls=None), now_s=1000.0)
    assert len(asking.told.links) == 2


async def test_a_failure_is_told_and_what_was_known_stays() -> None:
    """Counted once for each try; the links grow old."""
    prometheus, errors = Cadvisor(), list[int]()
    asking = reading(prometheus, errors=errors)
    await asking.read(TOPOLOGY, now_s=1000.0)
    known = asking.told.links
    prometheus.is_away = True
    await asking.read(TOPOLOGY, now_s=1060.0)
    assert (asking.told.links, errors) == (known, [1])
    assert asking.note.endswith("; no counters of pods: no answer")


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ({}, "cAdvisor is not scraped, or its metrics are dropped"),
        ({"shop-1": {"id": "/system.slice/x", "interface": "eth0"}}, "series without a pod's labels"),
        ({"shop-1": {"namespace": "other", "pod": "shop-1"}}, "no series of the mesh's pods"),
    ],
)
async def test_what_is_missing_is_said(labels: dict[str, dict[str, str]], reason: str) -> None:
    """And gives no link."""
    prometheus = Cadvisor()
    prometheus.labels = labels
    asking = reading(prometheus)
    await asking.read(TOPOLOGY, now_s=1000.0)
    assert asking.told.links == ()
    assert "; no links by what pods received and sent; left out: " in asking.note
    assert reason in asking.note
