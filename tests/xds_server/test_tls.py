"""mTLS on the xDS port, for real: who gets in, as whom, and how a renewed certificate comes into force."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import grpc.aio
import pytest
from prometheus_client import CollectorRegistry

from tests.fakes.authority import Authority, Issued
from tests.xds_server.proxy_stream import Proxy
from tests.xds_server.small_world import cds, world
from xds_server.errors import BadSettingsError
from xds_server.metrics import XdsMetrics
from xds_server.server import XdsServer
from xds_server.settings import XdsSettings, check
from xds_server.store import Store
from xds_server.tls import CertificateFiles, read_certificates

LOOPBACK = "IP:127.0.0.1"
WEB = "URI:spiffe://cluster.local/ns/shop/sa/web"


class Port:
    """A running server, its files, and the authority that signed them."""

    def __init__(self, folder: Path, *, max_stream_age_s: float) -> None:
        self.authority = Authority(folder)
        self.files = Issued(folder / "tls.crt", folder / "tls.key")
        self.authority.issue("first", LOOPBACK).install(self.files.certificate, self.files.key)
        self.client_ca = folder / "clients.crt"
        self.client_ca.write_bytes(self.authority.certificate.read_bytes())
        self.settings = XdsSettings(
            port=0,
            drain_s=0.2,
            certificate_file=str(self.files.certificate),
            key_file=str(self.files.key),
            client_ca_file=str(self.client_ca),
            certificate_poll_s=0.01,
            max_stream_age_s=max_stream_age_s,
        )
        self.registry = CollectorRegistry()
        self.store = Store(lambda _: world(cds("shop", endpoints="")))
        self.server = XdsServer(self.store, self.settings, XdsMetrics(self.registry))

    def channel(self, issued: Issued | None) -> grpc.aio.Channel:
        """Return a channel that shows this certificate, or none."""
        own = (issued.key.read_bytes(), issued.certificate.read_bytes()) if issued else (None, None)
        credentials = grpc.ssl_channel_credentials(self.authority.certificate.read_bytes(), *own)
        # Channels of one process share connections unless told not to.
        options = [("grpc.use_local_subchannel_pool", 1)]
        return grpc.aio.secure_channel(f"127.0.0.1:{self.server.port}", credentials, options=options)

    def count(self, name: str, **labels: str) -> float:
        """Return a counter's value."""
        return self.registry.get_sample_value(f"askew_xds_{name}_total", labels) or 0.0

    async def until(self, name: str, value: float, **labels: str) -> None:
        """Wait until a counter has a value."""
        async with asyncio.timeout(10):
            while self.count(name, **labels) != value:  # noqa: ASYNC110 - Prometheus has no event for it
                await asyncio.sleep(0.01)

    async def certificate(self) -> bytes:
        """Return the certificate (DER) that a new connection gets."""
        return await asyncio.to_thread(self._certificate)

    def _certificate(self) -> bytes:
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection(("127.0.0.1", self.server.port), 10) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
        ):
            found = wrapped.getpeercert(binary_form=True)
        assert found is not None
        return found


@pytest.fixture
async def port(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Port]:
    running = Port(tmp_path, max_stream_age_s=getattr(request, "param", 1800.0))
    await running.server.start()
    assert running.server.certificates is not None
    parts = [asyncio.create_task(running.server.run()), asyncio.create_task(running.server.certificates.run())]
    yield running
    for part in parts:
        part.cancel()
    await asyncio.wait(parts)


async def refused(port: Port, issued: Issued | None, proxy_id: str) -> tuple[grpc.StatusCode, str]:
    """Return code and words with which a stream is refused."""
    async with port.channel(issued) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await Proxy(channel, proxy_id).first_answer()
    return error.value.code(), error.value.details() or ""


@pytest.mark.parametrize(
    ("san", "proxy_id"),
    [
        (WEB, "web-0.shop"),
        (WEB, "sidecar~10.0.0.7~web-0.shop~shop.svc.cluster.local"),
        ("DNS:web-0.shop", "web-0.shop"),
        ("DNS:*.shop.svc.cluster.local", "web-0.shop"),
    ],
)
async def test_the_right_certificate_is_let_in(port: Port, san: str, proxy_id: str) -> None:
    """A SPIFFE id or a DNS name that is the proxy's opens the stream, and resources come."""
    async with port.channel(port.authority.issue("client", san)) as channel:
        assert await Proxy(channel, proxy_id).first_answer() == ["shop"]

    assert port.count("identity_refusals") == 0


@pytest.mark.parametrize(
    ("san", "named"), [(WEB, "spiffe://cluster.local/ns/shop/sa/web"), ("DNS:web-0.shop", "web-0.shop")]
)
async def test_a_certificate_of_another_is_permission_denied(
    port: Port, san: str, named: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The client hears why, the log has one line, the counter one more, and nobody has joined."""
    caplog.set_level(logging.WARNING, "xds_server")

    code, details = await refused(port, port.authority.issue("client", san), "till-0.bank")

    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert "till-0.bank" in details
    assert named in details
    assert [record.getMessage().endswith(details) for record in caplog.records] == [True]
    assert port.count("identity_refusals") == 1
    assert port.registry.get_sample_value("askew_xds_connected_proxies") == 0


async def test_without_a_certificate_there_is_no_connection(port: Port) -> None:
    """TLS itself refuses a client that shows nothing."""
    code, _ = await refused(port, None, "web-0.shop")

    assert code is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_of_another_authority_is_no_certificate(port: Port, tmp_path: Path) -> None:
    """The right name, signed by a stranger."""
    stranger = Authority(tmp_path, "stranger").issue("forged", WEB)

    code, _ = await refused(port, stranger, "web-0.shop")

    assert code is grpc.StatusCode.UNAVAILABLE


async def test_plaintext_is_not_answered(port: Port) -> None:
    """A client without TLS gets nothing."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port.server.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await Proxy(channel, "web-0.shop").first_answer()

    assert error.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_renewed_certificate_comes_into_force_and_old_streams_live_on(port: Port) -> None:
    """New connections get the new one within two looks; the stream from before is served over the old connection."""
    before = await port.certificate()
    async with port.channel(port.authority.issue("client", WEB)) as channel:
        proxy = Proxy(channel, "web-0.shop")
        await proxy.first_answer()
        renewed = port.authority.issue("second", LOOPBACK)
        renewed.install(port.files.certificate, port.files.key)
        await port.until("certificate_loads", 2, result="accepted")
        after = await port.certificate()
        port.store.apply(lambda _: world(cds("cart", endpoints="")))
        assert await proxy.answer() == ["cart"]

    assert before != after
    assert after == ssl.PEM_cert_to_DER_cert(renewed.certificate.read_text())


@pytest.mark.parametrize("broken", ["junk", "another key", "no key", "no authority"])
async def test_a_broken_certificate_changes_nothing_and_is_said(
    port: Port, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever was written there, new connections get the old certificate; one line in the log, one in the counter."""
    caplog.set_level(logging.ERROR, "xds_server")
    before = await port.certificate()

    if broken == "junk":
        port.files.certificate.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n")
    elif broken == "another key":
        port.files.key.write_bytes(port.authority.issue("other", LOOPBACK).key.read_bytes())
    elif broken == "no key":
        port.files.key.unlink()
    else:
        port.client_ca.write_text("")
    await port.until("certificate_loads", 1, result="refused")

    assert await port.certificate() == before
    (record,) = caplog.records
    assert "the one in force stays" in record.getMessage()
    assert "\n" not in record.getMessage()


async def test_a_good_certificate_after_a_broken_one_is_taken(port: Port) -> None:
    """The refusal is of that file, not for ever."""
    port.files.certificate.write_text("junk")
    await port.until("certificate_loads", 1, result="refused")

    renewed = port.authority.issue("second", LOOPBACK)
    renewed.install(port.files.certificate, port.files.key)
    await port.until("certificate_loads", 2, result="accepted")

    assert await port.certificate() == ssl.PEM_cert_to_DER_cert(renewed.certificate.read_text())


async def test_a_new_authority_of_clients_comes_into_force(port: Port, tmp_path: Path) -> None:
    """Clients of the old authority are strangers from then on; those of the new one are let in."""
    other = Authority(tmp_path, "other")
    old, new = port.authority.issue("old", WEB), other.issue("new", WEB)
    port.client_ca.write_bytes(other.certificate.read_bytes())
    await port.until("certificate_loads", 2, result="accepted")

    code, _ = await refused(port, old, "web-0.shop")
    async with port.channel(new) as channel:
        assert await Proxy(channel, "web-0.shop").first_answer() == ["shop"]

    assert code is grpc.StatusCode.UNAVAILABLE


async def test_a_mounted_secret_is_followed(port: Port, tmp_path: Path) -> None:
    """Kubernetes renews a mount by moving a link to another folder; the file's own name never changes."""
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        issued = port.authority.issue(f"mounted-{number}", LOOPBACK)
        issued.install(tmp_path / number / "tls.crt", tmp_path / number / "tls.key")
    (tmp_path / "data").symlink_to("1")
    metrics = XdsMetrics(CollectorRegistry())
    mounted = {"certificate_file": f"{tmp_path}/data/tls.crt", "key_file": f"{tmp_path}/data/tls.key"}
    files = CertificateFiles(replace(port.settings, **mounted), metrics)
    files.load()
    watching = asyncio.create_task(files.run())
    renewed, another_port = files.renewals(), files.renewals()
    assert renewed() is None

    (tmp_path / "new").symlink_to("2")
    (tmp_path / "new").rename(tmp_path / "data")
    async with asyncio.timeout(10):
        while renewed() is None:  # noqa: ASYNC110 - gRPC asks so, too
            await asyncio.sleep(0.01)
    watching.cancel()
    await asyncio.wait([watching])

    assert another_port() is not None  # one port's look takes nothing from the other's


@pytest.mark.parametrize("port", [0.3], indirect=True)
async def test_connections_age_so_that_certificates_are_proved_again(port: Port) -> None:
    """A client that comes again on the same channel is soon on a new connection, and goes on to be served."""
    peers: set[str] = set()
    async with asyncio.timeout(20), port.channel(port.authority.issue("client", WEB)) as channel:
        while len(peers) < 2:
            proxy = Proxy(channel, "web-0.shop")
            assert await proxy.first_answer() == ["shop"]
            peers |= {stream.peer for stream in port.store.clients["web-0.shop"].streams}
            assert await proxy.ended() is grpc.StatusCode.OK


def test_an_encrypted_key_is_refused_and_nobody_is_asked(tmp_path: Path) -> None:
    """A password prompt would hang a server without a terminal."""
    issued = Authority(tmp_path).issue("server", LOOPBACK)
    locked = tmp_path / "locked.key"
    command = ("openssl", "pkcs8", "-topk8", "-in", str(issued.key), "-out", str(locked), "-passout", "pass:secret")
    subprocess.run(command, check=True, capture_output=True)

    with pytest.raises(BadSettingsError, match="not encrypted"):
        read_certificates(str(issued.certificate), str(locked), str(issued.certificate))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_plaintext_is_fine_on_loopback(host: str) -> None:
    """Nobody else hears it."""
    check(XdsSettings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "::ffff:10.0.0.1", "xds.example", ""])
def test_plaintext_beyond_loopback_is_refused_unless_asked_for(host: str) -> None:
    """The line says what to do; a setting, or mTLS, makes it right."""
    with pytest.raises(BadSettingsError, match=r"xds\.host: found .*allowed: a loopback address"):
        check(XdsSettings(host=host))

    check(XdsSettings(host=host, plaintext_beyond_loopback=True))
    check(XdsSettings(host=host, certificate_file="c", key_file="k", client_ca_file="a"))


@pytest.mark.parametrize("missing", ["certificate_file", "key_file", "client_ca_file"])
def test_half_a_tls_configuration_is_refused(missing: str) -> None:
    """Two of the three files are a mistake, never plaintext or TLS without client certificates."""
    whole = XdsSettings(certificate_file="c", key_file="k", client_ca_file="a")

    with pytest.raises(BadSettingsError, match=f"xds.{missing}"):
        check(replace(whole, **{missing: ""}))
