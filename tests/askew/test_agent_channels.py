"""Channels to agents: over mTLS by the name that their certificates have, with files that come late or are renewed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest

from askew.agent_channels import AgentChannels
from askew.errors import CommandError
from askew.settings import NodeSettings
from enforcer.settings import ApiSettings
from enforcer.tls import ServerCertificates
from tests.fakes.agent_service import SERVICE
from tests.fakes.authority import Authority

US, AGENT = "spiffe://cluster.local/ns/askew-system/sa/askew", "askew-enforcer.askew-system.svc"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def agent_port(authority: Authority, san: str) -> AsyncIterator[str]:
    """Run a port that shows a certificate with these names, wants one of ours, and says nothing; yield its address."""
    own = authority.issue("agent", san)
    settings = ApiSettings(
        certificate_file=str(own.certificate), key_file=str(own.key), client_ca_file=str(authority.certificate)
    )
    server = grpc.aio.server()
    port = server.add_secure_port("127.0.0.1:0", ServerCertificates(settings).credentials())
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0.1)


def settings_of(authority: Authority, folder: Path) -> NodeSettings:
    files = {"certificate_file": str(folder / "us.crt"), "key_file": str(folder / "us.key")}
    return NodeSettings(ca_file=str(authority.certificate), agent_name=AGENT, **files)  # type: ignore[arg-type]


async def code_of(channels: AgentChannels, address: str) -> grpc.StatusCode:
    """Return what a call ends with; UNIMPLEMENTED is: the connection stands."""
    call = channels.to(address).unary_unary(SERVICE + "Status")(b"", timeout=5.0)
    code: grpc.StatusCode = await call.code()
    if code != grpc.StatusCode.UNIMPLEMENTED:
        await channels.failed(address)
    return code


async def test_an_agent_is_known_by_its_name_not_by_its_address(authority: Authority, tmp_path: Path) -> None:
    """Its address is a pod's, which no certificate has; another name is no agent."""
    authority.issue("us", f"URI:{US}")
    for san, code in ((f"DNS:{AGENT}", "UNIMPLEMENTED"), ("DNS:web.shop.svc,IP:127.0.0.1", "UNAVAILABLE")):
        channels = AgentChannels(settings_of(authority, tmp_path))
        async with agent_port(authority, san) as address:
            assert (await code_of(channels, address)).name == code
        await channels.close()


async def test_files_that_come_late_are_found(authority: Authority, tmp_path: Path) -> None:
    """The agents' secret may be made after the control plane has started: nothing must be restarted then."""
    channels = AgentChannels(settings_of(authority, tmp_path))
    async with agent_port(authority, f"DNS:{AGENT}") as address:
        with pytest.raises(CommandError, match=r"nodes\.certificate_file, key_file, ca_file: found No such file"):
            channels.to(address)
        authority.issue("us", f"URI:{US}")
        assert await code_of(channels, address) == grpc.StatusCode.UNIMPLEMENTED
    await channels.close()


async def test_a_renewed_certificate_is_shown_after_a_failure(authority: Authority, tmp_path: Path) -> None:
    """One that no agent takes any more is not shown for ever."""
    (tmp_path / "other").mkdir()
    Authority(tmp_path / "other").issue("us", f"URI:{US}").install(tmp_path / "us.crt", tmp_path / "us.key")
    channels = AgentChannels(settings_of(authority, tmp_path))
    async with agent_port(authority, f"DNS:{AGENT}") as address:
        first = await code_of(channels, address)
        await asyncio.to_thread(authority.issue("new", f"URI:{US}").install, tmp_path / "us.crt", tmp_path / "us.key")
        await channels.failed(address)
        second = await code_of(channels, address)
    await channels.close()

    assert (first.name, second.name) == ("UNAVAILABLE", "UNIMPLEMENTED")


def test_with_a_mesh_file_files_that_are_not_there_are_bad_input() -> None:
    """In one line, at the start."""
    with pytest.raises(CommandError, match=r"nodes\.certificate_file, key_file, ca_file: found .*, allowed: "):
        AgentChannels(NodeSettings(ca_file="/nowhere/ca.pem")).check()
