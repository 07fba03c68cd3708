"""Istio's metrics as calls between services: whose counts grow, and whether everyone is named."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from istio.call_metrics import Way, callers_of, counts_of, workloads_of
from istio.prometheus import Answer, Series
from mesh.istio_facts import EndpointFacts, IstioFacts
from mesh.topology import Container, ContainerName, Node, NodeName, Port, Service, ServiceName, Topology

HOST = "shop.default.svc.cluster.local"


def service(name: str, *containers: str) -> Service:
    at = [
        Container(ContainerName(one), ServiceName(name), NodeName("n1"), f"10.0.0.{i}")
        for i, one in enumerate(containers)
    ]
    return Service(ServiceName(name), (Port(80),), containers=tuple(at))


TOPOLOGY = Topology(
    nodes=(Node(NodeName("n1")),),
    services=(
        service("shop.default", "shop-1.default"),
        service("front.default", "front-v1.default", "front-v2.default"),
        service("workload:job.batch", "job-1.batch"),
    ),
    istio=IstioFacts(
        endpoints={
            ContainerName("front-v1.default"): EndpointFacts(workload="front-v1;default;front;v1;Kubernetes"),
            ContainerName("front-v2.default"): EndpointFacts(workload="front-v2;default;front;v2;Kubernetes"),
        }
    ),
)


def series(
    workload: str, namespace: str, value: float, *, reporter: str = "destination", host: str = HOST
) -> tuple[Mapping[str, str], float]:
    labels = {"source_workload": workload, "source_workload_namespace": namespace}
    return {**labels, "destination_service": host, "reporter": reporter}, value


def counts(*found: tuple[Mapping[str, str], float]) -> Mapping[Way, float]:
    return counts_of(Answer(tuple(Series(labels, ((9.0, value),)) for labels, value in found)))


def test_a_workload_is_the_service_that_its_containers_are_clients_of() -> None:
    """Its home Service by what istiod says of its endpoints; ``workload:…`` where it serves nobody."""
    assert workloads_of(TOPOLOGY) == {
        ("front-v1", "default"): {"front.default"},
        ("front-v2", "default"): {"front.default"},
        ("job", "batch"): {"workload:job.batch"},
    }


def test_callers_are_named_by_either_side() -> None:
    """The server's sidecar and the client's own both tell of a call."""
    found = counts(series("front-v2", "default", 3.0), series("job", "batch", 1.0, reporter="source"))
    [one] = callers_of(found, {}, TOPOLOGY, time_s=9.0)
    assert (one.service, one.clients) == ("shop.default", ("front.default", "workload:job.batch"))


def test_a_count_that_stands_still_is_no_call() -> None:
    """The service is still watched; a count that grows, or that began anew, is a call."""
    before = counts(series("front-v1", "default", 3.0), series("job", "batch", 5.0))
    [still] = callers_of(before, before, TOPOLOGY, time_s=9.0)
    assert (still.clients, still.is_whole) == ((), True)
    now = counts(series("front-v1", "default", 4.0), series("job", "batch", 1.0))
    [grown] = callers_of(now, before, TOPOLOGY, time_s=9.0)
    assert grown.clients == ("front.default", "workload:job.batch")


@pytest.mark.parametrize(
    ("nameless", "reporter", "is_whole"),
    [(0.0, "destination", True), (5.0, "destination", True), (50.0, "destination", False), (0.0, "source", False)],
)
def test_all_callers_are_known_where_the_server_names_nearly_everyone(
    nameless: float, reporter: str, is_whole: bool
) -> None:
    """Who is ``unknown`` may be anybody; a client's own sidecar says nothing of the others."""
    found = counts(series("front-v1", "default", 1000.0, reporter=reporter), series("unknown", "unknown", nameless))
    [one] = callers_of(found, {}, TOPOLOGY, time_s=9.0)
    assert one.is_whole is is_whole


def test_strangers_are_passed_over() -> None:
    """Hosts that are no Service of the mesh, workloads that are no clients, values that are no counts."""
    found = counts(
        series("front-v1", "default", 1.0, host="api.example.com"),
        series("gateway", "istio-system", 1.0),
        series("front-v1", "default", float("nan")),
    )
    [one] = callers_of(found, {}, TOPOLOGY, time_s=9.0)
    assert one.clients == ()
