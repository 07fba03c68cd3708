"""The agent's port with mTLS: who is named may ask, who is not is told so, who shows no certificate gets nowhere."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import grpc
import grpc.aio
import pytest

from enforcer import api
from enforcer.agent import NodeAgent
from enforcer.api import NodeAgentService, server
from enforcer.errors import BadAgentSettingsError
from enforcer.host import real_host
from enforcer.host_paths import HostPaths
from enforcer.node_writer import NodeWriter
from enforcer.proto import node_agent_pb2 as pb
from enforcer.settings import ApiSettings, WriterSettings
from enforcer.tls import ServerCertificates
from tests.fakes.agent_service import SERVICE, recorded_host
from tests.fakes.authority import Authority

MINE, OTHER = "spiffe://cluster.local/ns/askew-system/sa/askew", "spiffe://cluster.local/ns/shop/sa/web"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def settings_of(authority: Authority) -> ApiSettings:
    own = authority.issue("agent", "DNS:localhost,IP:127.0.0.1")
    files = {"certificate_file": str(own.certificate), "key_file": str(own.key)}
    return ApiSettings(**files, client_ca_file=str(authority.certificate), allowed_clients=MINE)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def short_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time for a handshake that nobody begins."""
    monkeypatch.setattr(api, "HANDSHAKE_S", 1.0)


@pytest.fixture
async def port(tmp_path: Path, authority: Authority) -> AsyncIterator[int]:
    """The port of an agent that speaks mTLS."""
    settings = settings_of(authority)
    writer = NodeWriter(real_host(HostPaths(str(recorded_host(tmp_path)))), WriterSettings())
    await writer.start()

    async def observe() -> pb.ObserveResponse:
        return pb.ObserveResponse()

    agent = NodeAgent(writer, node="n1", role="all")
    made = server(NodeAgentService(agent, settings, observe=observe))
    bound = made.add_secure_port("127.0.0.1:0", ServerCertificates(settings).credentials())
    await made.start()
    yield bound
    await made.stop(0.1)
    await writer.stop()


async def code_of(port: int, credentials: grpc.ChannelCredentials) -> grpc.StatusCode:
    """Return what asking for the status ends with."""
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        asked = channel.unary_unary(SERVICE + "Status", request_serializer=None, response_deserializer=None)
        call = asked(b"", timeout=5.0)
        return await call.code()


def shown(authority: Authority, san: str) -> grpc.ChannelCredentials:
    issued = authority.issue("client", san)
    return grpc.ssl_channel_credentials(
        authority.certificate.read_bytes(), issued.key.read_bytes(), issued.certificate.read_bytes()
    )


async def test_the_named_client_may_ask(port: int, authority: Authority) -> None:
    """The control plane's identity is let in."""
    assert await code_of(port, shown(authority, f"URI:{MINE}")) == grpc.StatusCode.OK


async def test_another_client_of_the_same_authority_may_not(port: int, authority: Authority) -> None:
    """Every workload of a mesh has a certificate: it is not enough."""
    assert await code_of(port, shown(authority, f"URI:{OTHER}")) == grpc.StatusCode.PERMISSION_DENIED


async def test_who_begins_no_handshake_is_sent_away(port: int) -> None:
    """gRPC itself would keep the connection for two minutes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


async def test_without_a_certificate_there_is_no_connection(port: int, authority: Authority) -> None:
    """TLS itself refuses."""
    nothing = grpc.ssl_channel_credentials(authority.certificate.read_bytes())

    assert await code_of(port, nothing) == grpc.StatusCode.UNAVAILABLE


async def test_new_connections_get_a_renewed_certificate(port: int, tmp_path: Path, authority: Authority) -> None:
    """Files renamed over: who connects now sees the new certificate; a stream that stands goes on with the old one."""
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", shown(authority, f"URI:{MINE}")) as standing:
        watch = standing.unary_stream(SERVICE + "Watch")(b"")
        first = await watch.read()
        before = await certificate_on(port)
        renewed = authority.issue("renewed", "DNS:localhost,IP:127.0.0.1")
        renewed.install(tmp_path / "agent.crt", tmp_path / "agent.key")
        after = await certificate_on(port)
        still = await standing.unary_unary(SERVICE + "Status")(b"", timeout=5.0)

    assert (before != after, after) == (True, pem_of(renewed.certificate))
    assert (first is not grpc.aio.EOF, still != b"") == (True, True)
    assert await code_of(port, shown(authority, f"URI:{MINE}")) == grpc.StatusCode.OK


async def test_half_of_a_renewal_leaves_the_certificate_in_force(
    port: int, tmp_path: Path, authority: Authority
) -> None:
    """Certificate and key are two files: between the two renames nobody is turned away."""
    before = await certificate_on(port)
    renewed = authority.issue("renewed", "DNS:localhost,IP:127.0.0.1")
    renewed.certificate.rename(tmp_path / "agent.crt")
    between = await certificate_on(port)
    renewed.key.rename(tmp_path / "agent.key")
    after = await certificate_on(port)

    assert (between == before, after == pem_of(tmp_path / "agent.crt"), after != before) == (True, True, True)


async def certificate_on(port: int) -> str:
    """Return the certificate (PEM) that the port shows to a new connection."""
    return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port), timeout=5.0)


def pem_of(file: Path) -> str:
    return file.read_text().strip() + "\n"


def test_files_that_cannot_be_used_are_refused(authority: Authority, tmp_path: Path) -> None:
    """Another certificate's key is bad settings, one line."""
    settings = settings_of(authority)
    Path(settings.key_file).write_text("no key")

    with pytest.raises(BadAgentSettingsError, match=r"api\.certificate_file"):
        ServerCertificates(settings).credentials()
