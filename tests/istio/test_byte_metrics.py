"""Istio's byte metrics as exchanges between services: one side of each call, one job, known ends, honest ages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from istio.byte_metrics import HTTP, TCP, ByteSource, FoundBytes, found_bytes
from istio.call_metrics import workloads_of
from istio.prometheus import Answer, Prometheus, Series
from mesh.istio_facts import EndpointFacts, IstioFacts
from mesh.telemetry import ByteExchange
from mesh.topology import Container, ContainerName, Node, NodeName, Port, Service, ServiceName, Topology

NOW_S, WINDOW_S = 1000.0, 300.0
WEB, SHOP, DB, JOB = "web.default", "shop.default", "db.default", "workload:job.batch"


def service(name: str, *containers: str) -> Service:
    at = [
        Container(ContainerName(one), ServiceName(name), NodeName("n1"), f"10.0.0.{i}")
        for i, one in enumerate(containers)
    ]
    return Service(ServiceName(name), (Port(80),), containers=tuple(at))


def facts(**workloads: str) -> IstioFacts:
    found = {
        ContainerName(f"{pod.replace('_', '-')}.default"): EndpointFacts(
            workload=f"{name};default;{name};v1;Kubernetes"
        )
        for pod, name in workloads.items()
    }
    return IstioFacts(endpoints=found)


TOPOLOGY = Topology(
    nodes=(Node(NodeName("n1")),),
    services=(
        service(WEB, "web-1.default", "web-2.default"),
        service(SHOP, "shop-1.default"),
        service(DB, "db-1.default"),
        service(JOB, "job-1.batch"),
    ),
    istio=facts(web_1="web", web_2="web", shop_1="shop-v1", db_1="db"),
)


def labels(client: str = "web", server: str = "shop", **more: str) -> dict[str, str]:
    """Return the labels of what a workload and a Service exchange, the client's sidecar telling."""
    return {
        "job": "envoy",
        "reporter": "source",
        "source_workload": client,
        "source_workload_namespace": "default",
        "destination_workload": f"{server}-v1" if server == "shop" else server,
        "destination_workload_namespace": "default",
        "destination_service": f"{server}.default.svc.cluster.local",
        "destination_service_name": server,
        "destination_service_namespace": "default",
    } | more


Told = tuple[Mapping[str, str], float, float]  # labels, sent and received bytes/s


def read(*told: Told, tcp: tuple[Told, ...] = (), scraped_s: float | None = NOW_S - 10.0) -> FoundBytes:
    """Return what these series give, all scraped at one time (None: their pods are gone)."""

    def answer(found: tuple[Told, ...], column: int) -> Answer:
        return Answer(tuple(Series(one[0], ((NOW_S, float(one[column])),)) for one in found))  # type: ignore[arg-type]

    def times(found: tuple[Told, ...]) -> Answer:
        return Answer(() if scraped_s is None else tuple(Series(one[0], ((NOW_S, scraped_s),)) for one in found))

    rates = {HTTP[0]: answer(told, 1), HTTP[1]: answer(told, 2), TCP[0]: answer(tcp, 1), TCP[1]: answer(tcp, 2)}
    return found_bytes(
        rates,
        {"http": times(told), "tcp": times(tcp)},
        TOPOLOGY,
        homes=workloads_of(TOPOLOGY),
        time_s=NOW_S,
        window_s=WINDOW_S,
    )


def bytes_of(found: FoundBytes) -> dict[tuple[str, str], tuple[float, float]]:
    return {(one.client, one.server): (one.sent_bytes_per_s, one.received_bytes_per_s) for one in found.exchanges}


def test_an_exchange_has_both_directions_and_an_age() -> None:
    """Requests are what the client sent, responses what it got; the time is that of the scrape, not of the question."""
    [found] = read((labels(), 100.0, 900.0)).exchanges
    assert found == ByteExchange(ServiceName(WEB), ServiceName(SHOP), 990.0, 300.0, 100.0, 900.0, residual=None)


def test_both_sides_of_a_call_count_once() -> None:
    """The client's sidecar counts; by how much the server's counts otherwise is told."""
    found = read((labels(), 100.0, 900.0), (labels(reporter="destination"), 150.0, 1100.0))
    assert bytes_of(found) == {(WEB, SHOP): (100.0, 900.0)}
    assert (found.exchanges[0].residual, found.using) == (0.2, ("source",))


def test_the_servers_side_counts_where_the_clients_tells_nothing() -> None:
    """Metrics of the client mode may be off, or a namespace not be scraped: each client workload by itself."""
    found = read(
        (labels(reporter="destination"), 10.0, 20.0),
        (labels("shop-v1", "db"), 1.0, 2.0),
        (labels("shop-v1", "db", reporter="destination"), 1.0, 2.0),
    )
    assert bytes_of(found) == {(WEB, SHOP): (10.0, 20.0), (SHOP, DB): (1.0, 2.0)}
    assert found.using == ("destination", "source")


def test_the_sides_may_name_different_services() -> None:
    """A pod of two Services is one of them to its own sidecar: what the client called counts, once."""
    other = labels(reporter="destination", destination_service="db.default.svc.cluster.local")
    assert bytes_of(read((labels(), 10.0, 20.0), (other, 10.0, 20.0))) == {(WEB, SHOP): (10.0, 20.0)}


def test_http_and_tcp_of_one_pair_are_added() -> None:
    """They are different bytes; each protocol has its own side that counts."""
    found = read((labels(), 10.0, 20.0), tcp=((labels(reporter="destination"), 1.0, 2.0),))
    assert bytes_of(found) == {(WEB, SHOP): (11.0, 22.0)}


def test_versions_of_a_service_are_added() -> None:
    """A link leads to the Service, whichever workload of it answered."""
    found = read((labels(), 10.0, 20.0), (labels(destination_workload="shop-v2"), 5.0, 5.0))
    assert bytes_of(found) == {(WEB, SHOP): (15.0, 25.0)}


def test_a_pod_that_two_jobs_scrape_counts_once() -> None:
    """Of two jobs the one that saw more, and it is told."""
    found = read((labels(), 10.0, 20.0), (labels(job="pods"), 11.0, 21.0))
    assert bytes_of(found) == {(WEB, SHOP): (11.0, 21.0)}
    assert found.left_out == {"ways that several jobs tell of": 1}


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ({"destination_service": ""}, SHOP),
        ({"destination_service": "10.0.0.7"}, SHOP),
        ({"destination_service": "", "destination_service_name": "", "destination_service_namespace": ""}, SHOP),
        ({"destination_workload": "", "destination_workload_namespace": ""}, SHOP),
    ],
)
def test_a_server_is_known_by_what_labels_there_are(missing: Mapping[str, str], expected: str) -> None:
    """By its host, by name and namespace, or by the Service that its workload is at home in."""
    assert [one.server for one in read((labels(**missing), 1.0, 1.0)).exchanges] == [expected]


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ({"source_workload": "unknown", "source_workload_namespace": "unknown"}, "series of callers without a name"),
        ({"source_workload": ""}, "series of callers without a name"),
        ({"source_workload": "gateway"}, "series of callers that are no clients of this mesh"),
        (
            {"destination_service": "api.example.com", "destination_service_name": "", "destination_workload": ""},
            "series to what is no service of this mesh",
        ),
        ({"reporter": "waypoint"}, "series of reporter waypoint"),
        ({"reporter": ""}, "series of reporter none"),
    ],
)
def test_what_is_not_known_is_left_out_and_told(odd: Mapping[str, str], reason: str) -> None:
    """Nothing is guessed: no exchange, and a reason."""
    found = read((labels(**odd), 1.0, 0.0))
    assert found.exchanges == ()
    assert reason in found.left_out


def test_a_workload_without_a_service_is_a_client() -> None:
    """It stands in the mesh by its own name."""
    found = read((labels("job", source_workload_namespace="batch"), 1.0, 2.0))
    assert bytes_of(found) == {(JOB, SHOP): (1.0, 2.0)}


def test_what_a_service_sends_itself_is_no_link() -> None:
    """As with links that sidecars report."""
    assert read((labels(server="web"), 1.0, 2.0)).exchanges == ()


def test_pods_that_are_gone_still_count_and_are_as_old_as_the_window() -> None:
    """All pods of a workload are replaced at once: just then the scheduler asks for what they exchanged."""
    [found] = read((labels(), 1.0, 2.0), scraped_s=None).exchanges
    assert (found.time_s, found.sent_bytes_per_s) == (NOW_S - WINDOW_S, 1.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_values_that_are_no_rates_are_passed_over(value: float) -> None:
    """Prometheus may answer NaN or +Inf; zeros are nobody's exchange."""
    assert read((labels(), value, 0.0)).exchanges == ()
    assert read((labels(), 0.0, 0.0)) == FoundBytes()


@given(st.lists(st.tuples(st.sampled_from(["web", "shop-v1", "db"]), st.sampled_from(["shop", "db"]),
                          st.floats(0, 1e9), st.floats(0, 1e9)), max_size=8))  # fmt: skip
def test_bytes_are_conserved(calls: list[tuple[str, str, float, float]]) -> None:
    """Told by both sides alike, the exchanges sum to one side's bytes, less what services send themselves."""
    told = [(labels(client, server, response=str(i)), a, b) for i, (client, server, a, b) in enumerate(calls)]
    once = {(one[0]["source_workload"], one[0]["destination_service"]): one for one in told}  # as ``sum by`` answers
    both = [(kept[0] | {"reporter": side}, *kept[1:]) for kept in once.values() for side in ("source", "destination")]
    found = read(*both)
    homes = {"web": "web", "shop-v1": "shop", "db": "db"}
    expected = [sum(one[1:]) for (client, host), one in once.items() if homes[client] != host.split(".", maxsplit=1)[0]]
    assert sum(map(sum, bytes_of(found).values())) == pytest.approx(sum(expected))
    assert all(one.residual in (0.0, None) for one in found.exchanges)


class Recorded(Prometheus):
    """Answers queries that hold a text with series that a Prometheus answered, as JSON."""

    def __init__(self, answers: Mapping[str, list[dict[str, Any]]]) -> None:
        self.answers, self.asked = answers, list[str]()

    async def instant(self, query: str, *, time_s: float | None = None) -> Answer:
        self.asked.append(query)
        found = next((value for text, value in self.answers.items() if text in query), [])
        return Answer(tuple(Series(one["metric"], ((one["value"][0], float(one["value"][1])),)) for one in found))


# What Prometheus 2.42 answered for a page of ``ByteCounts`` with 2,048 bytes/s for each of two response codes.
RECORDED = json.loads("""[{"metric":{"destination_service":"shop.default.svc.cluster.local",
"destination_service_name":"shop","destination_service_namespace":"default","destination_workload":"shop-v1",
"destination_workload_namespace":"default","job":"kubelet","reporter":"destination","source_workload":"web",
"source_workload_namespace":"default"},"value":[1795561373.428,"4094.7355547882134"]},
{"metric":{"destination_service":"shop.default.svc.cluster.local","destination_service_name":"shop",
"destination_service_namespace":"default","destination_workload":"shop-v1","destination_workload_namespace":"default",
"job":"kubelet","reporter":"source","source_workload":"web","source_workload_namespace":"default"},
"value":[1795561373.428,"4094.7355547882134"]}]""")


async def test_queries_are_rates_summed() -> None:
    """The sum of rates, never the rate of a sum: one pod's restart is not everyone's. Six queries of one instant."""
    source = Recorded({"rate(istio_request_bytes_sum": RECORDED})
    found = await ByteSource(source, window_s=300.0).read(TOPOLOGY, time_s=NOW_S)
    assert bytes_of(found) == {(WEB, SHOP): (4094.7355547882134, 0.0)}
    rates = [query for query in source.asked if "rate(" in query]
    assert [query.split(") (", 1)[1] for query in rates] == [f"rate({metric}[300s]))" for metric in (*HTTP, *TCP)]
    assert len(source.asked) == 6


@pytest.mark.parametrize(
    ("there", "reason"),
    [({}, f"no series {', '.join((*HTTP, *TCP))}"), ({"count(": RECORDED}, "no two samples in 300 s")],
)
async def test_nothing_found_says_why(there: dict[str, list[dict[str, Any]]], reason: str) -> None:
    """No metrics at all, or a window that is too short for the scrapes."""
    found = await ByteSource(Recorded(there), window_s=300.0).read(TOPOLOGY, time_s=NOW_S)
    assert found == FoundBytes(left_out={reason: 1})


async def test_a_workload_that_is_recreated_keeps_its_home() -> None:
    """Its pods are gone, its Service is not; a Service that is gone too is no end of an exchange."""
    source = ByteSource(Recorded({"rate(istio_request_bytes_sum": RECORDED}), window_s=300.0)
    before = await source.read(TOPOLOGY, time_s=NOW_S)
    rest = tuple(one for one in TOPOLOGY.services if one.name != WEB)
    empty = replace(TOPOLOGY, services=(service(WEB), *rest), istio=facts(shop_1="shop-v1"))
    assert bytes_of(await source.read(empty, time_s=NOW_S)) == bytes_of(before)
    assert bytes_of(await source.read(empty, time_s=NOW_S)) == bytes_of(before)
    assert (await source.read(replace(empty, services=rest), time_s=NOW_S)).exchanges == ()
