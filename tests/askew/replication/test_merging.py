"""Telemetry of several replicas as one."""

from __future__ import annotations

from askew.replication.merging import merged, without_records
from mesh.link_measurement import Measurement
from mesh.node_interference import NodeCounters
from mesh.picture import Link
from mesh.telemetry import LinkSample, LoadReport, SpanRecord, Telemetry, ToldLinks
from mesh.topology import ContainerName, NodeName


def load(client: str, time_s: float) -> LoadReport:
    """A report without endpoints."""
    return LoadReport(ContainerName(client), time_s, covered_s=time_s, endpoints=())


def span(name: str) -> SpanRecord:
    """A span of a service."""
    return SpanRecord("0" * 32, "0" * 16, "", name, "", "", "server", 0.0, 0.0, False, "")


def test_a_sidecar_that_moved_counts_once_and_newest() -> None:
    """Two replicas know it; adding both up would count its requests twice."""
    own = Telemetry(time_s=10.0, loads=(load("a", 4.0), load("b", 9.0)))
    other = Telemetry(time_s=99.0, loads=(load("a", 8.0), load("b", 3.0), load("c", 5.0)))

    found = merged(own, [other])

    assert {one.client: one.time_s for one in found.loads} == {"a": 8.0, "b": 9.0, "c": 5.0}
    assert found.time_s == 10.0


def test_records_are_joined_and_count_once() -> None:
    """What happened once is told once, though samples are told again and again."""
    own, other = Telemetry(time_s=1.0, spans=(span("a"),)), Telemetry(time_s=1.0, spans=(span("b"),))

    assert [one.service for one in merged(own, [other]).spans] == ["a", "b"]
    assert merged(own, [without_records(other)]).spans == own.spans


def test_a_node_counts_once_and_newest() -> None:
    """A replica that led before still knows what it was told then."""
    old, new = (NodeCounters(NodeName("n1"), time_s, clock_s=time_s, cpus=2) for time_s in (4.0, 8.0))

    assert merged(Telemetry(nodes=(old,)), [Telemetry(nodes=(new,))]).nodes == (new,)
    assert merged(Telemetry(nodes=(new,)), [Telemetry(nodes=(old,))]).nodes == (new,)


def test_the_newest_reading_of_links_counts() -> None:
    """What the leader before was told of services holds until the new one is told more."""
    old, new = (ToldLinks(time_s, 300.0, (Link("web", "shop", time_s, "prometheus"),)) for time_s in (4.0, 8.0))

    assert merged(Telemetry(told=old), [Telemetry(told=new)]).told == new
    assert merged(Telemetry(), [Telemetry(told=old)]).told == old


def test_a_container_is_measured_once_and_newest() -> None:
    """What the leader before had measured on a node holds until the new one has it measured again."""
    old, new = (
        LinkSample(time_s, Measurement(ContainerName("shop-1"), "sockets", 5.0, (), cost_cpu_s=0.0, complete=True))
        for time_s in (4.0, 8.0)
    )

    assert merged(Telemetry(link_samples=(old,)), [Telemetry(link_samples=(new,))]).link_samples == (new,)
    assert merged(Telemetry(), [Telemetry(link_samples=(old,))]).link_samples == (old,)
