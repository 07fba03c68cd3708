"""Answers of the query API, recorded and mutilated, and servers that behave badly."""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from istio.errors import QueryRejectedError, SourceUnavailableError, UnreadableAnswerError
from istio.prometheus import Answer, Prometheus, PrometheusSettings, Series, parse_answer
from tests.real.outside_process import free_ports


def body(kind: str, result: object, **more: object) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}, **more}).encode()


def test_vector_and_matrix() -> None:
    """One sample per series, or many; values are strings, NaN among them."""
    vector = parse_answer(body("vector", [{"metric": {"pod": "a"}, "value": [5.5, "7"]}]))
    assert vector.series == (Series({"pod": "a"}, ((5.5, 7.0),)),)
    matrix = parse_answer(body("matrix", [{"metric": {}, "values": [[1, "2"], [3, "NaN"]]}]))
    assert matrix.series[0].samples[0] == (1.0, 2.0)
    assert math.isnan(matrix.series[0].samples[1][1])


def test_warnings_are_passed_on() -> None:
    """Thanos answers in part and says so."""
    assert parse_answer(body("vector", [], warnings=["store down"])).warnings == ("store down",)


@pytest.mark.parametrize(
    "entry",
    [
        1,
        {},
        {"metric": {"pod": 1}, "value": [1, "2"]},
        {"metric": {}, "value": [1, 2]},
        {"metric": {}, "values": [[1, "x"]]},
        {"metric": {}, "histogram": [1, {}]},
        {"metric": {}, "value": [True, "1"]},
    ],
)
def test_a_series_that_cannot_be_read_is_counted(entry: object) -> None:
    """The others are kept."""
    answer = parse_answer(body("vector", [entry, {"metric": {}, "value": [1, "2"]}]))
    assert (len(answer.series), answer.unreadable) == (1, 1)


@pytest.mark.parametrize(
    "text",
    [b"", b"<html>", b"[]", b"{}", b'{"status":"error"}', body("string", [1, "x"]), body("vector", {}), b"[" * 99999],
)
def test_another_body_is_refused(text: bytes) -> None:
    """A status 200 from something else is no answer."""
    with pytest.raises(UnreadableAnswerError):
        parse_answer(text)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["metric", "value", "values", "pod"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.sampled_from(["vector", "matrix", "scalar", "string"]), _json)
def test_any_result_is_read_counted_or_refused(kind: str, result: object) -> None:
    """Nothing but the room's own error."""
    try:
        parse_answer(body(kind, result))
    except UnreadableAnswerError:
        return


@given(st.binary(max_size=100), st.integers(0, 90))
def test_any_bytes_are_read_or_refused(noise: bytes, place: int) -> None:
    """Noise anywhere in a good answer."""
    good = body("vector", [{"metric": {"pod": "a"}, "value": [5.5, "7"]}])
    try:
        parse_answer(good[:place] + noise + good[place:])
    except UnreadableAnswerError:
        return


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def client_of(handler: Handler, *, most_bytes: int = 1 << 20) -> AsyncIterator[Prometheus]:
    app = web.Application()
    app.router.add_post("/tenant/api/v1/{endpoint}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    [port] = free_ports(1)
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        settings = PrometheusSettings(
            f"http://127.0.0.1:{port}/tenant/", deadline_s=0.3, headers={"X-Scope-OrgID": "a"}, most_bytes=most_bytes
        )
        async with aiohttp.ClientSession() as session:
            yield Prometheus(session, settings)
    finally:
        await runner.cleanup()


async def test_queries_go_as_a_form_below_the_prefix_with_the_headers() -> None:
    """What Mimir and Thanos want: path prefix, tenant, and a body for long queries."""
    seen: list[tuple[str, str | None, dict[str, object]]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.path, request.headers.get("X-Scope-OrgID"), dict(await request.post())))
        return web.Response(body=body("matrix", []))

    async with client_of(handler) as client:
        await client.instant("up[1m]", time_s=12.5)
        await client.range("up", start_s=1, end_s=2, step_s=0.5)
    assert seen == [
        ("/tenant/api/v1/query", "a", {"query": "up[1m]", "time": "12.500", "timeout": "300ms"}),
        (
            "/tenant/api/v1/query_range",
            "a",
            {"query": "up", "start": "1.000", "end": "2.000", "step": "0.500", "timeout": "300ms"},
        ),
    ]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, QueryRejectedError),
        (401, QueryRejectedError),
        (422, QueryRejectedError),
        (302, QueryRejectedError),
        (429, SourceUnavailableError),
        (503, SourceUnavailableError),
    ],
)
async def test_statuses_say_whether_to_try_again(status: int, error: type[Exception]) -> None:
    """The caller's fault is refused for good; the server's is tried again; its own words are in the message."""

    async def handler(_: web.Request) -> web.Response:
        return web.json_response({"status": "error", "error": "too many samples"}, status=status)

    async with client_of(handler) as client:
        with pytest.raises(error, match="too many samples"):
            await client.instant("up")


async def test_a_silent_server_is_given_up_at_the_deadline() -> None:
    """No answer is 'try again', not a hang."""
    never = asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        await never.wait()
        return web.Response()

    async with client_of(handler) as client:
        with pytest.raises(SourceUnavailableError, match="no answer"):
            await client.instant("up")
        never.set()


async def test_an_answer_without_end_is_refused() -> None:
    """The limit on bytes holds while reading, not after."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=bytes(100_000))

    async with client_of(handler, most_bytes=1000) as client:
        with pytest.raises(UnreadableAnswerError, match="more than 1000 bytes"):
            await client.instant("up")


@pytest.mark.parametrize(("series", "is_in_thread"), [(1, False), (3000, True)])
async def test_a_large_answer_is_read_in_a_thread(
    monkeypatch: pytest.MonkeyPatch, series: int, is_in_thread: bool
) -> None:
    """So that sidecars are served meanwhile; for a small one that would only cost."""
    threads: list[threading.Thread] = []

    def watched(answer: bytes) -> Answer:
        threads.append(threading.current_thread())
        return parse_answer(answer)

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=body("vector", [{"metric": {"pod": "a"}, "value": [5, "7"]}] * series))

    monkeypatch.setattr("istio.prometheus.parse_answer", watched)
    async with client_of(handler) as client:
        assert len((await client.instant("up")).series) == series
    assert [one is not threading.main_thread() for one in threads] == [is_in_thread]
