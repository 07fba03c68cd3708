"""From a tick's telemetry to endpoint windows, and on to the view that targets are decided from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from estimators.endpoint_windows import EndpointMemory, EndpointWindows, read_endpoint_windows
from mesh.mesh_file import parse_mesh_file
from mesh.telemetry import ClusterCounters, EndpointLoad, LatencyHistogram, LoadReport, Telemetry
from mesh.topology import ContainerName, ServicePort, Topology

MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1}, {name: n2}]
services:
- name: front
  containers: [{name: front-0, node: n1, address: 127.0.1.1}]
- name: back
  port: 9080
  containers:
  - {name: back-0, node: n1, address: 127.0.1.2, app_port: 9081}
  - {name: back-1, node: n2, address: 127.0.2.2, port: 9090}
calls: [{from: front, to: back}]
"""
PORT = 9080


@pytest.fixture
def topology() -> Topology:
    """Return one client and two endpoints, whose sidecars name the app's port or the service's."""
    return parse_mesh_file(MESH)


def histogram(container: str, time_s: float, *counts: int, cluster: str = "inbound|9080||") -> LatencyHistogram:
    """Return a server-side histogram with bounds 10 and 20 ms; the last count is all."""
    *below, count = counts
    name = ContainerName(container)
    return LatencyHistogram(name, cluster, None, "server", time_s, (10.0, 20.0), tuple(below), count, 10.0 * count)


def errors(container: str, time_s: float, count: int) -> ClusterCounters:
    return ClusterCounters(ContainerName(container), "inbound|9080||", None, "server", time_s, server_errors=count)


def load(issued: int, failed: int, *, address: str = "127.0.2.2:9090") -> LoadReport:
    cluster = "outbound|9080|remote|back.default.svc.cluster.local"
    endpoint = EndpointLoad(cluster, None, address, issued, issued - failed, failed, 0)
    return LoadReport(ContainerName("front-0"), 0.0, 0.0, (endpoint,))


def two_ticks(topology: Topology, first: Telemetry, second: Telemetry) -> EndpointWindows:
    memory = read_endpoint_windows(topology, first, EndpointMemory(), interval_s=5.0).memory
    return read_endpoint_windows(topology, second, memory, interval_s=5.0)


def test_a_window_needs_two_ticks(topology: Topology) -> None:
    """The first sample only says where counting starts."""
    first = Telemetry(0.0, latencies=(histogram("back-0", 0.0, 1, 2, 3),))
    read = read_endpoint_windows(topology, first, EndpointMemory(), interval_s=5.0)

    assert read.windows == {}


@pytest.mark.parametrize(
    ("container", "port"), [("back-0", 9080), ("back-0", 9081), ("back-1", 9080), ("back-1", 9090)]
)
def test_an_inbound_cluster_is_known_by_either_port(topology: Topology, container: str, port: int) -> None:
    """Service port, the port on the address or the app's: Istio and our own sidecars differ."""
    cluster = f"inbound|{port}||"
    read = two_ticks(
        topology,
        Telemetry(0.0, latencies=(histogram(container, 0.0, 0, 0, 0, cluster=cluster),)),
        Telemetry(5.0, latencies=(histogram(container, 5.0, 1, 2, 4, cluster=cluster),)),
    )
    back = ServicePort(topology.container_by_name[ContainerName(container)].service, PORT)

    assert read.windows[back][ContainerName(container)].latency.counts == (1, 1, 2)


def test_what_is_not_an_endpoint_is_left_out(topology: Topology) -> None:
    """Another port, an unknown container, a client's histogram, a name that is none."""
    samples = (
        histogram("back-0", 5.0, 1, 1, 1, cluster="inbound|1||"),
        histogram("ghost-0", 5.0, 1, 1, 1),
        histogram("back-0", 5.0, 1, 1, 1, cluster="strange"),
        replace(histogram("back-0", 5.0, 1, 1, 1), reporter="client"),
    )
    before = tuple(replace(sample, time_s=0.0) for sample in samples)

    assert two_ticks(topology, Telemetry(0.0, latencies=before), Telemetry(5.0, latencies=samples)).windows == {}


def test_failures_are_the_larger_of_both_sides(topology: Topology) -> None:
    """The server answered 3 errors, the client saw 5 fail: connections that were refused never reached it."""
    read = two_ticks(
        topology,
        Telemetry(0.0, (load(100, 0),), (errors("back-1", 0.0, 7),), (histogram("back-1", 0.0, 0, 0, 0),)),
        Telemetry(5.0, (load(150, 5),), (errors("back-1", 5.0, 10),), (histogram("back-1", 5.0, 10, 20, 40),)),
    )
    (windows,) = read.windows.values()

    assert (windows[ContainerName("back-1")].failures, windows[ContainerName("back-1")].issued) == (5, 50)


def test_without_a_clients_report_what_was_issued_is_unknown(topology: Topology) -> None:
    """None, not 0."""
    read = two_ticks(
        topology,
        Telemetry(0.0, latencies=(histogram("back-1", 0.0, 0, 0, 0),)),
        Telemetry(5.0, latencies=(histogram("back-1", 5.0, 10, 20, 40),)),
    )
    (windows,) = read.windows.values()

    assert windows[ContainerName("back-1")].issued is None


def test_counters_that_restart_count_from_zero(topology: Topology) -> None:
    """A new sidecar and a new control plane."""
    read = two_ticks(
        topology,
        Telemetry(0.0, (load(100, 50),), (errors("back-1", 0.0, 70),), (histogram("back-1", 0.0, 9, 9, 9),)),
        Telemetry(5.0, (load(30, 2),), (errors("back-1", 5.0, 4),), (histogram("back-1", 5.0, 3, 3, 3),)),
    )
    (windows,) = read.windows.values()
    window = windows[ContainerName("back-1")]

    assert (window.latency.count, window.failures, window.issued) == (3, 4, 30)


def test_who_left_is_forgotten(topology: Topology) -> None:
    """Memory does not grow with every container that ever was."""
    first = Telemetry(0.0, (), (errors("back-1", 0.0, 1),), (histogram("back-1", 0.0, 0, 0, 0),))
    memory = read_endpoint_windows(topology, first, EndpointMemory(), interval_s=5.0).memory
    smaller = parse_mesh_file(MESH.replace("  - {name: back-1, node: n2, address: 127.0.2.2, port: 9090}\n", ""))
    after = read_endpoint_windows(smaller, Telemetry(5.0), memory, interval_s=5.0).memory

    assert len(memory.histograms) == len(memory.errors) == 1
    assert not after.histograms
    assert not after.errors


def test_bad_samples_are_counted(topology: Topology) -> None:
    """NaN in a sum."""
    bad = replace(histogram("back-1", 5.0, 1, 1, 1), sum_ms=np.nan)

    assert (
        read_endpoint_windows(topology, Telemetry(5.0, latencies=(bad,)), EndpointMemory(), interval_s=5.0).faults == 1
    )


def test_what_fails_between_two_windows_waits_for_the_next(topology: Topology) -> None:
    """Load reports come more often than histograms: three failures while none was new count in the next window."""
    old = histogram("back-1", 0.0, 0, 0, 0)
    first = Telemetry(0.0, (load(100, 0),), (errors("back-1", 0.0, 0),), (old,))
    between = Telemetry(5.0, (load(150, 3),), (errors("back-1", 0.0, 0),), (old,))
    last = Telemetry(10.0, (load(200, 3),), (errors("back-1", 10.0, 2),), (histogram("back-1", 10.0, 9, 9, 9),))
    memory = read_endpoint_windows(topology, first, EndpointMemory(), interval_s=5.0).memory
    quiet = read_endpoint_windows(topology, between, memory, interval_s=5.0)
    (windows,) = read_endpoint_windows(topology, last, quiet.memory, interval_s=5.0).windows.values()
    window = windows[ContainerName("back-1")]

    assert (quiet.windows, quiet.faults) == ({}, 0)
    assert (window.failures, window.issued) == (3, 100)
