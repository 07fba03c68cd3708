"""The mTLS HTTP port: who is let in with which certificate, and what a renewed one changes. Real TLS."""

from __future__ import annotations

import asyncio
import errno
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from askew import certificate_bounds, mtls_port
from askew.__main__ import _parse
from askew.certificate_bounds import CertificateBounds
from askew.cli.serve import _settings
from askew.control_plane import ControlPlane
from askew.errors import CommandError
from askew.settings import HttpSettings, ServeSettings
from askew.settings_check import check
from tests.fakes.authority import Authority, Issued
from tests.fakes.clock import FakeClock
from xds_server.rest import MOST_SESSIONS
from xds_server.settings import XdsSettings

MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1}]
services:
  - {name: web, port: 80, containers: [{name: web-0, node: n1, address: 127.5.0.1}]}
"""
SCHEDULER = "URI:spiffe://cluster.local/ns/askew-system/sa/askew-scheduler"
WEB = "URI:spiffe://cluster.local/ns/default/sa/web"
QUESTION = {"Pod": {"metadata": {"name": "web-1"}}, "NodeNames": ["n1"]}
CLUSTERS = {"node": {"id": "web-0.default", "cluster": "web"}}


class Port:
    """A control plane with the port, its files, and the authority that signed them."""

    def __init__(self, folder: Path, *, max_stream_age_s: float = 1800.0, **bounds: float) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.files = Issued(folder / "tls.crt", folder / "tls.key")
        self.authority.issue("first", "IP:127.0.0.1").install(self.files.certificate, self.files.key)
        self.client_ca = folder / "clients.crt"
        self.client_ca.write_bytes(self.authority.certificate.read_bytes())
        (folder / "mesh.yaml").write_text(MESH)
        xds = XdsSettings(
            port=0, drain_s=0.1, certificate_file=str(self.files.certificate), key_file=str(self.files.key),
            client_ca_file=str(self.client_ca), certificate_poll_s=0.01, max_stream_age_s=max_stream_age_s,
        )  # fmt: skip
        http = replace(HttpSettings(port=0, mtls_host="127.0.0.1", mtls_port=0), **bounds)
        self.settings = ServeSettings(xds=xds, http=http)
        self.plane = ControlPlane(str(folder / "mesh.yaml"), self.settings)

    def context(self, issued: Issued | None) -> ssl.SSLContext:
        """Return a client's side that shows this certificate, or none."""
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        if issued is not None:
            context.load_cert_chain(issued.certificate, issued.key)
        return context

    def session(self, san: str | Issued | None) -> aiohttp.ClientSession:
        """Return a client with a certificate of this name."""
        issued = self.authority.issue("client", san) if isinstance(san, str) else san
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self.context(issued)))

    async def post(self, http: aiohttp.ClientSession, path: str, body: object) -> tuple[int, Any]:
        """Return the status and the JSON of an answer."""
        assert self.plane.mtls is not None
        async with http.post(f"https://127.0.0.1:{self.plane.mtls.port}{path}", json=body) as response:
            return response.status, await response.json(content_type=None)

    async def ask(self, san: str | Issued | None, path: str, body: object) -> tuple[int, Any]:
        """Ask over a connection of one's own."""
        async with self.session(san) as http:
            return await self.post(http, path, body)

    def loads(self, result: str) -> float:
        """Return how often the files were read."""
        labels = {"result": result}
        return self.plane.registry.get_sample_value("askew_xds_certificate_loads_total", labels) or 0.0

    async def read_again(self, result: str, *, before: float) -> None:
        """Wait until both ports (they share the files) have looked at what is new."""
        async with asyncio.timeout(10):
            while self.loads(result) < before + 2:  # noqa: ASYNC110 - Prometheus has no event for it
                await asyncio.sleep(0.01)


@pytest.fixture
async def port(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Port]:
    running = Port(tmp_path, **getattr(request, "param", {}))
    ready = asyncio.Event()
    task = asyncio.create_task(running.plane.run(on_ready=ready.set))
    await asyncio.wait_for(ready.wait(), 10)
    yield running
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("san", [SCHEDULER, "DNS:askew-scheduler.askew-system.svc"])
async def test_the_scheduler_is_answered(port: Port, san: str) -> None:
    """By its SPIFFE id, or by its DNS name."""
    assert await port.ask(san, "/scheduler/prioritize", QUESTION) == (200, [{"Host": "n1", "Score": 0}])


@pytest.mark.parametrize(
    "san", [WEB, "DNS:web-0.default", "", f"{WEB},DNS:askew-scheduler.askew-system.svc", f"{SCHEDULER},{WEB}"]
)
async def test_others_are_told_that_they_may_not(port: Port, san: str) -> None:
    """A sidecar's certificate, none of ours, and one that has an allowed DNS name beside a foreign URI: 403."""
    status, found = await port.ask(san, "/scheduler/prioritize", QUESTION)

    assert (status, "allowed: a name of scheduler.allowed_clients" in found["error"]) == (403, True)


@pytest.mark.parametrize("san", [WEB, "DNS:web-0.default"])
async def test_a_proxy_fetches_its_own_configuration(port: Port, san: str) -> None:
    """REST discovery, for the proxy that the certificate names."""
    status, found = await port.ask(san, "/v3/discovery:clusters", CLUSTERS)

    assert (status, len(found["resources"])) == (200, 1)


@pytest.mark.parametrize("san", ["URI:spiffe://cluster.local/ns/shop/sa/web", "DNS:web-1.default", SCHEDULER, ""])
async def test_a_proxy_fetches_nobody_elses(port: Port, san: str) -> None:
    """As on the xDS port: 403, with what was found and what is allowed; counted."""
    status, found = await port.ask(san, "/v3/discovery:clusters", CLUSTERS)

    assert (status, found["error"].startswith("node.id: found web-0.default with a certificate of")) == (403, True)
    assert port.plane.registry.get_sample_value("askew_xds_identity_refusals_total") == 1.0
    assert port.plane.store.clients == {}


async def test_who_shows_no_certificate_of_ours_is_not_heard(port: Port, tmp_path: Path) -> None:
    """No certificate, or another authority's: TLS itself says no."""
    foreign = Authority(tmp_path, "foreign").issue("stranger", SCHEDULER)
    for shown in (None, foreign):
        with pytest.raises(aiohttp.ClientError):
            await port.ask(shown, "/scheduler/prioritize", QUESTION)


async def test_a_proxy_has_no_end_of_subscriptions(port: Port) -> None:
    """One that asks for other names each time holds a few, not as many as it polls in a minute."""
    async with port.session(WEB) as http:
        for number in range(MOST_SESSIONS + 8):
            body = CLUSTERS | {"resource_names": [f"outbound|{number}||web"]}
            await port.post(http, "/v3/discovery:endpoints", body)
            assert (await port.post(http, "/v3/discovery:clusters", CLUSTERS))[0] == 200
    (client,) = port.plane.store.clients.values()
    assert len(client.streams) == MOST_SESSIONS


async def test_a_charset_that_nobody_knows_is_no_failure(port: Port) -> None:
    """JSON is UTF-8; what a client says of it must not fail in us, with a traceback for each request."""
    assert port.plane.mtls is not None
    async with port.session(WEB) as http:
        url = f"https://127.0.0.1:{port.plane.mtls.port}/v3/discovery:clusters"
        headers = {"Content-Type": "application/json; charset=none-such"}
        async with http.post(url, data=json.dumps(CLUSTERS).encode(), headers=headers) as response:
            assert response.status == 200


@pytest.mark.parametrize("port", [{"mtls_requests_per_s": 1e-6}], indirect=True)
async def test_a_certificate_may_ask_so_often(port: Port) -> None:
    """Then it is told 429 and when to come again, whatever it asks for; another certificate never noticed."""
    assert port.plane.mtls is not None
    url = f"https://127.0.0.1:{port.plane.mtls.port}/scheduler/prioritize"
    said = []
    async with port.session(SCHEDULER) as http:
        for _ in range(2):
            async with http.post(url, json=QUESTION) as response:
                said.append((response.status, await response.json()))
        retry_s = int(response.headers["Retry-After"])
    why = "requests: found more of one certificate (spiffe://cluster.local/ns/askew-system/sa/askew-scheduler)"

    assert said[0] == (200, [{"Host": "n1", "Score": 0}])
    assert said[1] == (429, {"error": f"{why}, allowed: 256 at a time, 1e-06 a second"})
    assert retry_s > 0
    assert (await port.ask(SCHEDULER, "/scheduler/prioritize", QUESTION))[0] == 200  # the name, a new certificate
    assert (await port.ask(WEB, "/v3/discovery:clusters", CLUSTERS))[0] == 200


@pytest.mark.parametrize("port", [{"mtls_requests_at_once": 2}], indirect=True)
async def test_a_certificate_may_ask_so_much_at_once(port: Port) -> None:
    """Requests that are not ended count, over however many connections; when they end there is room again."""
    assert port.plane.mtls is not None
    own, where = port.authority.issue("client", SCHEDULER), ("127.0.0.1", port.plane.mtls.port)
    head = b"POST /scheduler/prioritize HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
    held = [await asyncio.open_connection(*where, ssl=port.context(own)) for _ in range(2)]
    for _, writer in held:
        writer.write(head)
    async with port.session(own) as http, asyncio.timeout(10):
        while (await port.post(http, "/scheduler/prioritize", QUESTION))[0] != 429:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.01)
        for _, writer in held:
            writer.close()
        while (await port.post(http, "/scheduler/prioritize", QUESTION))[0] != 200:  # noqa: ASYNC110 - nor here
            await asyncio.sleep(0.01)


def test_a_scheduler_at_its_busiest_is_far_from_the_bounds(clock: FakeClock) -> None:
    """Three hundred pods a second, for an hour, sixteen at a time; and what is remembered is bounded."""
    settings = HttpSettings()
    bounds = CertificateBounds(at_once=settings.mtls_requests_at_once, per_s=settings.mtls_requests_per_s, now_s=clock)
    for _ in range(3600 * 20):
        assert [bounds.begin(b"scheduler") for _ in range(15)] == [0.0] * 15
        for _ in range(15):
            bounds.end(b"scheduler")
        clock.now_s += 0.05
    for number in range(certificate_bounds.MOST_CERTIFICATES + 10):
        bounds.begin(b"%d" % number)
        bounds.end(b"%d" % number)

    assert (len(bounds._rates), len(bounds._open)) == (certificate_bounds.MOST_CERTIFICATES, 0)


async def test_a_poll_that_asks_for_too_much_is_refused(port: Port) -> None:
    """400, as a stream would end with INVALID_ARGUMENT; and no subscription stays behind."""
    status, answer = await port.ask(WEB, "/v3/discovery:clusters", CLUSTERS | {"resource_names": ["x" * 5000]})

    assert (status, answer) == (400, {"error": "resource names: found 5000 characters, allowed: 1024"})
    assert not port.plane.store.clients


async def test_no_other_page_is_there(port: Port) -> None:
    """Pages stay on the other port, whoever asks."""
    async with port.session(SCHEDULER) as http:
        assert port.plane.mtls is not None
        for path in ("/metrics", "/debug/plan", "/healthz", "/"):
            async with http.get(f"https://127.0.0.1:{port.plane.mtls.port}{path}") as response:
                assert response.status == 404


async def test_a_renewed_certificate_is_what_new_connections_get(port: Port) -> None:
    """An open connection lives on with the old one; nobody is turned away meanwhile."""
    assert port.plane.mtls is not None
    async with port.session(SCHEDULER) as open_before:
        before = await port.post(open_before, "/scheduler/prioritize", QUESTION)
        read = port.loads("accepted")
        port.authority.issue("second", "DNS:askew.example").install(port.files.certificate, port.files.key)
        await port.read_again("accepted", before=read)
        async with asyncio.timeout(10):
            while True:  # the new context is in force a moment after the files were read
                with suppress(aiohttp.ClientConnectorCertificateError):
                    await port.ask(SCHEDULER, "/scheduler/prioritize", QUESTION)
                    continue
                break
        after = await port.post(open_before, "/scheduler/prioritize", QUESTION)

    assert before == after == (200, [{"Host": "n1", "Score": 0}])


async def test_a_renewal_without_a_descriptor_waits_for_one(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many open files at that moment must not end the control plane, nor leave the old certificate for ever."""
    failing, start = [OSError(errno.EMFILE, "Too many open files")], web.SockSite.start

    async def start_at_last(site: web.SockSite) -> None:
        if failing:
            raise failing.pop()
        await start(site)

    monkeypatch.setattr(web.SockSite, "start", start_at_last)
    monkeypatch.setattr(mtls_port, "AGAIN_S", 0.0)
    port.authority.issue("second", "DNS:askew.example").install(port.files.certificate, port.files.key)
    async with asyncio.timeout(10):
        while True:
            with suppress(aiohttp.ClientConnectorCertificateError):
                await port.ask(SCHEDULER, "/scheduler/prioritize", QUESTION)
                continue
            break

    assert failing == []


async def test_an_authority_that_was_taken_out_is_forgotten(port: Port, tmp_path: Path) -> None:
    """Its clients are refused from the next connection on, and the new authority's are let in."""
    other = Authority(tmp_path, "other")
    read = port.loads("accepted")
    (tmp_path / "clients.new").write_bytes(other.certificate.read_bytes())
    (tmp_path / "clients.new").rename(port.client_ca)
    await port.read_again("accepted", before=read)
    fresh = other.issue("scheduler", SCHEDULER)
    async with asyncio.timeout(10):
        status = 0
        while status != 200:
            with suppress(aiohttp.ClientError):
                status, _ = await port.ask(fresh, "/scheduler/prioritize", QUESTION)

    with pytest.raises(aiohttp.ClientError):
        await port.ask(SCHEDULER, "/scheduler/prioritize", QUESTION)


async def test_files_that_cannot_be_used_change_nothing(port: Port) -> None:
    """Half of a certificate is refused, and the one in force goes on."""
    read = port.loads("refused")
    port.files.certificate.write_text("no certificate")
    await port.read_again("refused", before=read)

    assert (await port.ask(SCHEDULER, "/scheduler/prioritize", QUESTION))[0] == 200


@pytest.mark.parametrize("port", [{"max_stream_age_s": 1e-6}], indirect=True)
async def test_a_connection_must_prove_itself_again_in_time(port: Port) -> None:
    """Past ``xds.max_stream_age_s`` an answer closes its connection."""
    assert port.plane.mtls is not None
    url = f"https://127.0.0.1:{port.plane.mtls.port}/scheduler/prioritize"
    async with port.session(SCHEDULER) as http:
        said = []
        for _ in range(3):
            async with http.post(url, json=QUESTION) as response:
                said.append(response.headers.get("Connection", ""))

    assert said == ["", "close", ""]


async def test_a_port_that_is_taken_is_told(port: Port) -> None:
    """Exit code 1, and nothing is left open."""
    assert port.plane.mtls is not None
    http = replace(port.settings.http, mtls_port=port.plane.mtls.port)
    second = ControlPlane(str(port.folder / "mesh.yaml"), replace(port.settings, http=http))

    with pytest.raises(CommandError, match=r"^http\.mtls_port: cannot listen on 127\.0\.0\.1:\d+: ") as error:
        await second.run()

    assert error.value.exit_code == 1


@pytest.mark.parametrize(
    ("http", "told"),
    [
        (HttpSettings(mtls_host="127.0.0.1"), "http.mtls_host: found '127.0.0.1', allowed: xds.certificate_file or"),
        (HttpSettings(mtls_certificate_file="c", mtls_key_file="k"), "http.mtls_client_ca_file: found nothing"),
    ],
)
def test_half_of_the_settings_is_refused(http: HttpSettings, told: str) -> None:
    """A port without certificates, or some of its three files."""
    with pytest.raises(CommandError) as error:
        check(ServeSettings(http=http))

    assert str(error.value).startswith(told)


@pytest.mark.parametrize(
    ("arguments", "certificate", "expected"),
    [
        (["--kubernetes"], "c", "0.0.0.0"),
        (["--kubernetes"], "", ""),
        (["--mesh", "mesh.yaml"], "c", ""),
    ],
)
def test_it_is_on_in_a_cluster_where_there_is_a_certificate(
    arguments: list[str], certificate: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the address of the xDS port; with a mesh file, or without a certificate, only where it is asked for."""
    for key in ("CERTIFICATE_FILE", "KEY_FILE", "CLIENT_CA_FILE"):
        monkeypatch.setenv(f"ASKEW_XDS_{key}", certificate)
    monkeypatch.setenv("ASKEW_XDS_HOST", "0.0.0.0")
    monkeypatch.setenv("ASKEW_XDS_PLAINTEXT_BEYOND_LOOPBACK", "true")

    assert _settings(_parse(["serve", *arguments])).http.mtls_host == expected
