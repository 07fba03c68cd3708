"""A container's app: it works, calls onward through its own sidecar, and tells why it failed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager

from lab.application import Application, Replica
from lab.apps import App
from lab.http_wire import Request, Response
from lab.topology_file import parse_application
from mesh.topology import Container, ContainerName, NodeName, ServiceName
from tests.lab.http_server import SmallServer, ok, small_server

TEXT = """
apiVersion: askew.lab/v1
nodes: [n1]
load: {service: front, requests_per_s: 10, mix: {get: 1}, nodes: {n1: 1}}
services:
  - name: front
    port: 80
    service_time: {distribution: fixed, mean_ms: 0}
    response_bytes: 123
    replicas: [{nodes: {n1: 1}}]
    operations:
      get: [[{to: a}, {to: b, operation: read, times: 2}], [{to: c}]]
      maybe: [[{to: a, probability: 0.3, times: 1000}]]
      nothing: []
  - {name: a, port: 80, replicas: [{nodes: {n1: 1}}]}
  - {name: b, port: 80, replicas: [{nodes: {n1: 1}}], operations: {read: [], write: []}}
  - {name: c, port: 80, replicas: [{nodes: {n1: 1}}]}
"""


def application() -> Application:
    return parse_application(TEXT, name="small")


@contextmanager
def app(sidecar: SmallServer, *, leaf: bool = False) -> Iterator[App]:
    replica = Replica("front-0", "front", "n1", leaf=leaf, capacity=1.0)
    container = Container(
        ContainerName("front-0"), ServiceName("front.default"), NodeName("n1"), sidecar.host, outbound_port=sidecar.port
    )
    front = App(application(), replica, container, rng=random.Random(1))
    yield front
    front.close()


def ask(path: str, **headers: str) -> Request:
    return Request("GET", path, headers)


async def test_it_calls_what_its_operation_says_through_its_sidecar() -> None:
    """Authority is the service's name, the path its operation; a later step starts after the earlier one."""
    async with small_server(ok) as sidecar:
        with app(sidecar) as front:
            response = await front.handle(ask("/get"))
        asked = [(request.headers["host"], request.path) for request in sidecar.seen]

    assert (response.status, len(response.body)) == (200, 123)
    assert sorted(asked[:3]) == [("a", "/get"), ("b", "/read"), ("b", "/read")]
    assert asked[3:] == [("c", "/get")]


async def test_trace_headers_are_handed_on() -> None:
    """What ties spans together goes from the request that came in to those that go out; nothing else does."""
    async with small_server(ok) as sidecar:
        with app(sidecar) as front:
            await front.handle(ask("/get", traceparent="00-1", cookie="secret"))

    assert {(r.headers.get("traceparent"), r.headers.get("cookie")) for r in sidecar.seen} == {("00-1", None)}


async def test_a_probable_call_is_made_about_so_often() -> None:
    """1,000 chances of 0.3 are about 300 calls (the seed is fixed)."""
    async with small_server(ok) as sidecar:
        with app(sidecar) as front:
            await front.handle(ask("/maybe"))

    assert 250 <= len(sidecar.seen) <= 350


async def test_a_leaf_calls_nobody() -> None:
    """As reviews v1: it answers, and its sidecar hears nothing."""
    async with small_server(ok) as sidecar:
        with app(sidecar, leaf=True) as front:
            response = await front.handle(ask("/get"))

    assert (response.status, sidecar.seen) == (200, [])


async def test_a_failed_call_fails_the_request_with_the_reason() -> None:
    """The caller gets 500 and reads who could not be reached; the next step is not begun."""

    async def refuse(request: Request) -> Response:
        return Response(503, b"no healthy upstream") if request.headers["host"] == "a" else Response(200)

    async with small_server(refuse) as sidecar:
        with app(sidecar) as front:
            response = await front.handle(ask("/get"))

    assert (response.status, response.body) == (500, b"front-0 to a: status 503 no healthy upstream\n")
    assert "c" not in {request.headers["host"] for request in sidecar.seen}


async def test_a_missing_sidecar_fails_the_request() -> None:
    """Without a sidecar there is no way out of a container."""
    async with small_server(ok) as sidecar:
        pass
    with app(sidecar) as front:
        response = await front.handle(ask("/get"))

    assert response.status == 500
    assert b"front-0 to a: " in response.body


async def test_its_speed_can_be_changed_and_its_queue_seen() -> None:
    """``/-/speed/X`` and ``/-/state`` are for antagonists and the curious."""
    async with small_server(ok) as sidecar:
        with app(sidecar) as front:
            assert (await front.handle(ask("/-/speed/0.25"))).status == 200
            await front.handle(ask("/nothing"))
            state = json.loads((await front.handle(ask("/-/state"))).body)

    assert (state["container"], state["speed"], state["served"], state["waiting"]) == ("front-0", 0.25, 1, 0)


async def test_what_it_does_not_know_it_refuses() -> None:
    """Unknown operations are 404 with the known ones, unknown speeds 400; neither costs a worker."""
    async with small_server(ok) as sidecar:
        with app(sidecar) as front:
            answers = [await front.handle(ask(path)) for path in ("/put", "/-/speed/0", "/-/speed/x", "/-/stop")]

    assert [answer.status for answer in answers] == [404, 400, 400, 400]
    assert answers[0].body == b"operations: get, maybe, nothing\n"
    assert front.queue.state.served == 0
