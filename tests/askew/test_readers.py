"""The commands that read a running control plane: proxy-status, links, plan, explain, top."""

from __future__ import annotations

import asyncio
import doctest
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from aiohttp import web
from envoy.service.discovery.v3 import discovery_pb2

import askew.cli.text_table
from askew.__main__ import main
from askew.cli.proxy_status import status
from tests.askew.running_plane import Running, running_plane
from xds_server.resources.names import CDS, EDS

pytestmark = pytest.mark.usefixtures("logging_as_before")

MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1, zone: a}, {name: n2, zone: a}, {name: n3, zone: b}]
services:
  - name: shop
    port: 80
    annotations: {askew.mesh/routing: local-first}
    containers:
      - {name: shop-1, node: n1, address: 127.5.0.1}
      - {name: shop-2, node: n2, address: 127.5.0.2}
      - {name: shop-3, node: n3, address: 127.5.0.3, capacity: 2.0}
  - name: cart
    port: 80
    containers: [{name: cart-0, node: n2, address: 127.5.0.4}]
  - name: web
    containers:
      - {name: web-1, node: n1, address: 127.5.0.5}
      - {name: web-2, node: n2, address: 127.5.0.6}
      - {name: web-3, node: n3, address: 127.5.0.7}
calls: [{from: web, to: shop}, {from: web, to: cart}]
rates:
  - {client: web-1, service: shop, requests_per_s: 60}
  - {client: web-2, service: shop, requests_per_s: 20}
  - {client: web-3, service: shop, requests_per_s: 20}
"""
Askew = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_plane(tmp_path, MESH) as found:
        yield found


@pytest.fixture
def askew_cli(running: Running, capsys: pytest.CaptureFixture[str]) -> Askew:
    """Run a command against the running control plane; return exit code, output and errors."""

    async def run(*words: str, url: str = "") -> tuple[int, str, str]:
        code = await asyncio.to_thread(main, [*words, "--url", url or running.url])
        out, err = capsys.readouterr()
        return code, out, err

    return run


async def document(askew_cli: Askew, *words: str) -> Any:
    """Return what a command says with ``-o json``."""
    code, out, err = await askew_cli(*words, "-o", "json")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_examples_run() -> None:
    """The examples of the table's module do what they show."""
    assert doctest.testmod(askew.cli.text_table).failed == 0


async def test_plan_says_the_page_and_shows_it(askew_cli: Askew, running: Running) -> None:
    """JSON is the page as it is; the text has every pair with a share, and the reason."""
    _, page = await running.get("/debug/allocationz?service=shop")
    assert await document(askew_cli, "plan", "shop") == page

    code, out, _ = await askew_cli("plan", "shop.default:80")

    assert code == 0
    assert "shop.default:80: 65.0 % of requests stay on their node, 35.0 % leave it" in out
    assert ["shop-3", "n3", "2", "50"] in [line.split() for line in out.splitlines()]
    assert ["web-2", "shop-2", "local", "100.0", "%", "20"] in [line.split() for line in out.splitlines()]


async def test_the_page_says_where_everything_stands(running: Running) -> None:
    """Places, capacities, tiers and standbys, each in the order of clients and endpoints."""
    _, page = await running.get("/debug/allocationz?service=shop")
    assert isinstance(page, dict)

    assert page["client_places"][2] == {"node": "n3", "zone": "b", "region": ""}
    assert [place["node"] for place in page["endpoint_places"]] == ["n1", "n2", "n3"]
    assert page["capacities"] == [1.0, 1.0, 2.0]
    assert page["tiers"][0] == ["local", "zone", "remote"]
    assert page["standbys"]["web-2"] == {"local": ["shop-1", "shop-3"]}
    assert page["rolled_back"] is False


async def test_explain_names_rate_targets_distance_and_standbys(askew_cli: Askew) -> None:
    """One paragraph in plain words, whose numbers are the plan's."""
    code, out, _ = await askew_cli("explain", "web-1", "shop")
    text = " ".join(out.split())

    assert code == 0
    for said in (
        "web-1 (node n1, zone a) sends 60 requests/s to shop.default:80, 60.0 % of what its clients send.",
        "41.7 % (25/s) to shop-1, on the same node",
        "On its node, shop-1 should get 25/s; clients there send 60/s, and 35/s of it leave it.",
        "all clients together need",
        "Should all its endpoints on the same node fail, their requests go to shop-2, shop-3.",
    ):
        assert said in text
    assert "\n\n" not in out.strip()


@pytest.mark.parametrize(
    ("client", "endpoint", "said"),
    [
        ("web-2", "shop-2", "It is on the client's own node, which comes first"),
        ("web-1", "shop-3", "Nearer endpoints take no more of this client"),
        ("web-3", "shop-1", "Its target is filled by web-1 (25/s), so this client needs no connection to it."),
    ],
)
async def test_explain_an_endpoint(askew_cli: Askew, client: str, endpoint: str, said: str) -> None:
    """Why this one gets its share of this client, or nothing."""
    code, out, _ = await askew_cli("explain", client, "shop", endpoint)

    assert code == 0
    assert said in " ".join(out.split())


async def test_explain_as_json_has_the_numbers_of_the_text(askew_cli: Askew) -> None:
    """Stable keys; the parts' rates sum to the client's."""
    found = await document(askew_cli, "explain", "web-1.default", "shop")

    assert set(found) == {
        "client", "service", "port", "endpoint", "place", "requests_per_s", "managed", "applied", "parts", "standbys",
        "reason", "text",
    }  # fmt: skip
    assert sum(part["requests_per_s"] for part in found["parts"]) == pytest.approx(60)
    for part in found["parts"]:
        assert part["planned_requests_per_s"] == pytest.approx(part["target_requests_per_s"])
    one = await document(askew_cli, "explain", "web-1", "shop", "shop-2")
    assert [part["endpoint"] for part in one["parts"]] == ["shop-2"]


async def test_explain_a_service_that_is_not_managed(askew_cli: Askew) -> None:
    """It says so, rather than to invent a plan."""
    _, out, _ = await askew_cli("explain", "web-1", "cart", "cart-0")

    assert "Every endpoint gets the same share" in " ".join(out.split())
    assert "Not managed" in " ".join(out.split())
    assert "web-1 (node n1, zone a) counts as sending 1 requests/s" in " ".join(out.split())


async def test_explain_a_plan_that_is_only_observed(askew_cli: Askew, running: Running) -> None:
    """What is computed and what is done differ then."""
    text = MESH.replace("local-first}", "local-first, askew.mesh/mode: observe}")
    fresh = running.file.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(running.file)
    await running.until("/debug/allocationz?service=shop", "'applied': False")

    _, out, _ = await askew_cli("explain", "web-1", "shop")

    assert "not in force (mode observe)" in " ".join(out.split())


async def test_top_sorts_by_what_leaves_the_nodes(askew_cli: Askew) -> None:
    """Once into a pipe: the service with the most requests across nodes comes first, unless asked otherwise."""
    found = (await document(askew_cli, "top"))["services"]
    assert [(one["service"], one["state"]) for one in found] == [
        ("shop.default", "applied"),
        ("cart.default", "not managed"),
    ]
    assert found[0]["cross_node_requests_per_s"] == pytest.approx(35)
    assert found[0]["lower_bound_cross_node_share"] == pytest.approx(0.35)

    code, out, _ = await askew_cli("top", "--sort", "share")

    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["SERVICE", "cart.default:80", "shop.default:80"]


async def test_top_refreshes_on_a_terminal_until_interrupted(running: Running) -> None:
    """It shows the table again and again; Ctrl-C ends it."""
    ours, its = os.openpty()
    os.set_blocking(ours, False)
    command = ("-m", "askew", "top", "--every", "0.1", "--url", running.url)
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120", "LINES": "30"}
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=its, env=environment)
    os.close(its)
    shown = b""
    try:
        async with asyncio.timeout(30):
            while shown.count(b"shop.default:80") < 3:
                await asyncio.sleep(0.05)
                with suppress(BlockingIOError):
                    shown += os.read(ours, 65536)
            process.send_signal(signal.SIGINT)
            while process.returncode is None:  # a terminal that nobody reads is full, and who writes to it waits
                await asyncio.sleep(0.05)
                with suppress(BlockingIOError, OSError):
                    shown += os.read(ours, 65536)
            assert process.returncode == 130
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)
    assert b"Traceback" not in shown


async def test_proxy_status_follows_a_proxy(askew_cli: Askew, running: Running) -> None:
    """Nobody yet; then a proxy that was sent clusters; then one that has accepted them."""
    assert await document(askew_cli, "proxy-status") == []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{running.plane.xds.port}") as channel:
        ads = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(ads)()
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=CDS)
        request.node.id = "web-1.default"
        await call.write(request.SerializeToString())
        data = await call.read()
        assert isinstance(data, bytes)
        (one,) = await document(askew_cli, "proxy-status")
        assert (one["proxy"], one["synced"], one["types"], one["errors"]) == (
            "web-1.default",
            False,
            {"cds": "STALE"},
            {},
        )

        nonce = discovery_pb2.DeltaDiscoveryResponse.FromString(data).nonce
        await call.write(discovery_pb2.DeltaDiscoveryRequest(type_url=CDS, response_nonce=nonce).SerializeToString())
        await running.until("/debug/syncz", "'synced': True")
        _, out, _ = await askew_cli("proxy-status", "web-1.default")

        assert out.split()[:6] == ["PROXY", "CDS", "LDS", "EDS", "RDS", "VERSION"]
        assert out.split()[6:8] == ["web-1.default", "SYNCED"]


def test_a_refusal_is_an_error_with_the_proxys_words() -> None:
    """State and reason by type; a type that was never sent says so."""
    sent = {"sent": "2", "acked": "1", "sentTime": "", "lastError": "no such cluster"}
    never = {"sent": "", "acked": "", "sentTime": "", "lastError": ""}
    page = {"proxy": "a.b", "synced": False, "version": "", "resources": {CDS: sent, EDS: never}}

    found = status(page)

    assert found["types"] == {"cds": "ERROR", "eds": "NOT SENT"}
    assert found["errors"] == {"cds": "no such cluster"}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("plan", "nobody"), "service: found 'nobody'"),
        (("plan", "shop:81"), "service: found port '81', allowed: 80"),
        (("explain", "nobody", "shop"), "CLIENT: found 'nobody', allowed: a client of shop.default:80: web-1"),
        (("explain", "web-1", "nobody"), "service: found 'nobody'"),
        (("explain", "web-1", "shop", "shop-9"), "ENDPOINT: found 'shop-9', allowed: an endpoint of shop.default:80"),
        (("proxy-status", "no\nbody"), "PROXY: found 'no\\nbody'"),
    ],
)
async def test_an_unknown_name_is_one_line_and_exit_2(askew_cli: Askew, words: tuple[str, ...], named: str) -> None:
    """What was found, and what is allowed."""
    code, out, err = await askew_cli(*words)

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert named in err


@pytest.mark.parametrize("words", [("proxy-status",), ("links",), ("plan", "shop"), ("explain", "a", "b"), ("top",)])
def test_no_control_plane_is_one_line_and_exit_1(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """The line names the address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert main([*words, "--url", url]) == 1

    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(url)
    assert "Connection refused" in err


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:18080",
        "file:///etc/passwd",
        "ftp://127.0.0.1",
        "http://",
        "http://a\nb",
        "http://[::1",
        "http://h:99999",
    ],
)
def test_a_wrong_url_is_bad_input(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Only http and https: no other scheme reads anything."""
    assert main(["top", "--url", url]) == 2
    assert "--url: found" in capsys.readouterr().err


@pytest.fixture
async def other_server(unused_pages: dict[str, web.Response]) -> AsyncIterator[str]:
    """A server that answers what the test says; returns its URL."""

    async def answer(request: web.Request) -> web.Response:
        page = unused_pages[request.path]
        return web.Response(text=page.text, status=page.status, headers=page.headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
def unused_pages() -> dict[str, web.Response]:
    """The pages of ``other_server``."""
    return {}


LINKS = {
    "links": [
        {"from": "web.default", "to": "shop.default", "bytes_per_s": 1200.0, "method": "peeled", "residual": 0.0},
        {"from": "shop.default", "to": "web.default", "bytes_per_s": 90000.5, "method": "estimated", "residual": 0.1},
    ],
    "to_measure": ["cart.default"],
}


async def test_links_shows_the_page(askew_cli: Askew, other_server: str, unused_pages: dict[str, web.Response]) -> None:
    """JSON as it is; the text has the heaviest link first, and what should be measured."""
    unused_pages["/debug/linkz"] = web.json_response(LINKS)

    _, out, _ = await askew_cli("links", "-o", "json", url=other_server)
    assert json.loads(out) == LINKS
    _, out, _ = await askew_cli("links", url=other_server)

    lines = [line.split() for line in out.splitlines()]
    assert lines[:3] == [
        ["FROM", "TO", "BYTES/S", "METHOD"],
        ["shop.default", "web.default", "90000", "estimated"],
        ["web.default", "shop.default", "1200", "peeled"],
    ]
    assert "To be measured, for certainty: cart.default" in out


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (web.Response(status=404, text="404: Not Found"), "this control plane has no such page"),
        (
            web.Response(status=401, text='{"error": "allowed: a loopback peer"}'),
            "allowed: a loopback peer (status 401)",
        ),
        (web.Response(status=500, text="oh"), "(status 500)"),
        (web.Response(text="<html>"), "found no JSON"),
        (web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}), "(status 302)"),
    ],
)
async def test_another_answer_is_one_line_and_exit_1(
    askew_cli: Askew, other_server: str, unused_pages: dict[str, web.Response], page: web.Response, said: str
) -> None:
    """No such page, no right, a fault, no JSON, a redirect: said, never a traceback."""
    unused_pages["/debug/linkz"] = page

    code, out, err = await askew_cli("links", url=other_server)

    assert (code, out, err.count("\n")) == (1, "", 1)
    assert said in err
