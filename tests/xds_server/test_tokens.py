"""The port for tokens, for real: who gets in, as whom, and with which status the others are turned away."""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest
from prometheus_client import CollectorRegistry

from tests.fakes.authority import Authority, Issued
from tests.real.outside_process import free_port
from tests.xds_server.proxy_stream import Proxy
from tests.xds_server.small_world import cds, world
from xds_server import server
from xds_server.errors import (
    BadSettingsError,
    CannotCheckTokenError,
    CannotListenError,
    RefuseTokenError,
    TooManyOfPeerError,
)
from xds_server.metrics import XdsMetrics
from xds_server.server import XdsServer
from xds_server.settings import XdsSettings, check
from xds_server.store import Store
from xds_server.tokens import TokenGate, TokenOwner, refusal

LOOPBACK = "IP:127.0.0.1"
OWNERS = {"web": TokenOwner("shop", "web"), "web-0": TokenOwner("shop", "web", pod="web-0")}


class TokenPort:
    """A running server with both ports; ``owners`` is what the API server would say, ``None`` for no answer."""

    def __init__(self, folder: Path, *, most_streams: int = 0) -> None:
        self.authority = Authority(folder)
        self.files = Issued(folder / "tls.crt", folder / "tls.key")
        self.authority.issue("first", LOOPBACK).install(self.files.certificate, self.files.key)
        self.settings = XdsSettings(
            port=0,
            token_port=free_port(),
            drain_s=0.2,
            certificate_file=str(self.files.certificate),
            key_file=str(self.files.key),
            client_ca_file=str(self.authority.certificate),
            certificate_poll_s=0.01,
            token_streams_per_pod=most_streams,
        )
        self.registry = CollectorRegistry()
        self.store = Store(lambda _: world(cds("shop", endpoints="")))
        self.owners: dict[str, TokenOwner] | None = dict(OWNERS)
        self.server = XdsServer(
            self.store,
            self.settings,
            XdsMetrics(self.registry),
            check_token=self._check,
            account_of=lambda proxy_id: "till" if "till" in proxy_id else "",
        )

    async def _check(self, token: str, peer: str) -> TokenOwner:
        assert peer == "ipv4:127.0.0.1"
        if self.owners is None:
            raise CannotCheckTokenError("no answer")
        if token not in self.owners:
            raise RefuseTokenError("not known")
        return self.owners[token]

    def channel(self) -> grpc.aio.Channel:
        """Return a channel that shows no certificate."""
        credentials = grpc.ssl_channel_credentials(self.authority.certificate.read_bytes())
        options = [("grpc.use_local_subchannel_pool", 1)]
        return grpc.aio.secure_channel(f"127.0.0.1:{self.settings.token_port}", credentials, options=options)

    async def tried(self, metadata: Sequence[tuple[str, str]], proxy_id: str = "web-0.shop") -> object:
        """Open a stream; return the names that come, or the status that ends it."""
        async with self.channel() as channel:
            proxy = Proxy(channel, proxy_id, metadata=metadata)
            try:
                return await proxy.first_answer()
            except (asyncio.InvalidStateError, grpc.aio.AioRpcError, AssertionError):
                return await proxy.ended()

    def registry_anew(self) -> CollectorRegistry:
        """Return the registry of another server in the place of this one."""
        self.registry = CollectorRegistry()
        return self.registry

    def count(self, name: str, **labels: str) -> float:
        """Return a counter's value."""
        return self.registry.get_sample_value(f"askew_xds_{name}_total", labels) or 0.0


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[TokenPort]:
    """A server that follows its files."""
    running = TokenPort(tmp_path)
    await running.server.start()
    assert running.server.certificates is not None
    parts = [asyncio.create_task(running.server.run()), asyncio.create_task(running.server.certificates.run())]
    yield running
    for part in parts:
        part.cancel()
    await asyncio.wait(parts)


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Return what a client sends."""
    return (("authorization", f"Bearer {token}"),)


async def test_a_token_opens_the_port(port: TokenPort) -> None:
    """Without a certificate, as any proxy of the account's namespace or as the Pod that it is bound to."""
    assert await port.tried(bearer("web")) == ["shop"]
    assert await port.tried(bearer("web-0")) == ["shop"]
    assert port.count("identity_refusals") == 0


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        bearer("stolen"),
        bearer(""),
        (("authorization", "Basic d2Vi"),),
        (("authorization", "web"),),
        (*bearer("web"), *bearer("web")),
        (("x-token", "web"),),
    ],
)
async def test_who_shows_none_that_counts_is_unauthenticated(
    port: TokenPort, metadata: tuple[tuple[str, str], ...], caplog: pytest.LogCaptureFixture
) -> None:
    """Before a message is read; the metric counts it, and the log does not say the token."""
    caplog.set_level(logging.DEBUG)
    assert await port.tried(metadata) is grpc.StatusCode.UNAUTHENTICATED
    assert port.count("token_refusals", reason="refused") == 1
    assert not port.store.clients
    assert "stolen" not in caplog.text


@pytest.mark.parametrize(
    ("token", "proxy_id"),
    [("web", "web-0.bank"), ("web-0", "web-1.shop"), ("web", "till-0.shop"), ("web", "nobody")],
)
async def test_a_foreign_token_is_not_permitted(port: TokenPort, token: str, proxy_id: str) -> None:
    """Of another namespace, another Pod, another service account (as the source knows it), or for no workload."""
    assert await port.tried(bearer(token), proxy_id) is grpc.StatusCode.PERMISSION_DENIED
    assert port.count("identity_refusals") == 1


async def test_while_nobody_can_judge_who_is_in_stays_in_and_nobody_comes_in(port: TokenPort) -> None:
    """UNAVAILABLE: the sidecar keeps what it has and comes again; an open stream is not touched."""
    async with port.channel() as channel:
        inside = Proxy(channel, "web-0.shop", metadata=bearer("web"))
        await inside.first_answer()
        port.owners = None
        assert await port.tried(bearer("web-0"), "web-1.shop") is grpc.StatusCode.UNAVAILABLE
        port.store.apply(lambda _: world(cds("bank", endpoints="")))
        assert await inside.answer() == ["bank"]

    assert port.count("token_refusals", reason="unchecked") == 1


async def test_a_token_is_worth_nothing_on_the_other_port(port: TokenPort) -> None:
    """There TLS wants a certificate."""
    credentials = grpc.ssl_channel_credentials(port.authority.certificate.read_bytes())
    async with grpc.aio.secure_channel(f"127.0.0.1:{port.server.port}", credentials) as channel:
        assert await Proxy(channel, "web-0.shop", metadata=bearer("web")).ended() is grpc.StatusCode.UNAVAILABLE


async def test_both_ports_get_a_renewed_certificate(port: TokenPort, tmp_path: Path) -> None:
    """Each new connection does; the one port's handshake does not use up the other's news."""
    other = Authority(tmp_path, "other")
    new = other.issue("second", LOOPBACK)
    await port.tried(bearer("web"))
    new.install(port.files.certificate, port.files.key)
    async with asyncio.timeout(10):
        while port.count("certificate_loads", result="accepted") < 2:  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.01)
    own = port.authority.issue("client", "URI:spiffe://cluster.local/ns/shop/sa/web")
    pair = (own.key.read_bytes(), own.certificate.read_bytes())
    credentials = grpc.ssl_channel_credentials(other.certificate.read_bytes(), *pair)
    async with grpc.aio.secure_channel(f"127.0.0.1:{port.server.port}", credentials) as channel:
        assert await Proxy(channel, "web-0.shop").first_answer() == ["shop"]
    assert await port.tried(bearer("web")) is grpc.StatusCode.UNAVAILABLE  # the old authority
    port.authority = other

    assert await port.tried(bearer("web")) == ["shop"]


async def test_the_port_needs_a_certificate_and_somebody_to_ask(tmp_path: Path) -> None:
    """Tokens in plaintext could be read on the way; a mesh file has no API server."""
    with pytest.raises(BadSettingsError, match=r"xds\.token_port: found 18002 without xds\.certificate_file"):
        check(XdsSettings(token_port=18002))
    settings = TokenPort(tmp_path).settings
    with pytest.raises(BadSettingsError, match="an API server"):
        await XdsServer(Store(lambda _: None), settings, XdsMetrics(CollectorRegistry())).start()


async def test_a_port_that_is_taken_is_told(port: TokenPort, tmp_path: Path) -> None:
    """With its own name."""
    (tmp_path / "more").mkdir()
    second = TokenPort(tmp_path / "more")
    second.settings = port.settings
    metrics = XdsMetrics(CollectorRegistry())
    server = XdsServer(second.store, second.settings, metrics, check_token=second._check)
    with pytest.raises(CannotListenError, match=rf"xds\.token_port: .*:{port.settings.token_port}"):
        await server.start()


def test_a_node_id_of_istios_form_is_the_pods() -> None:
    """As the sidecar writes it."""
    proxy_id = "sidecar~10.0.0.7~web-0.shop~shop.svc.cluster.local"

    assert refusal(OWNERS["web-0"], proxy_id, service_account="web") == ""
    assert "allowed: service account till" in refusal(OWNERS["web-0"], proxy_id, service_account="till")


@asynccontextmanager
async def serving(running: TokenPort) -> AsyncIterator[TokenPort]:
    """Run a server whose bounds are other ones."""
    await running.server.start()
    part = asyncio.create_task(running.server.run())
    yield running
    part.cancel()
    await asyncio.wait((part,))


async def test_one_pod_has_a_bounded_number_of_streams(tmp_path: Path) -> None:
    """The one too many is told so and counted; when another has ended, there is room again."""
    async with AsyncExitStack() as opened:
        port = await opened.enter_async_context(serving(TokenPort(tmp_path, most_streams=3)))
        channels = [await opened.enter_async_context(port.channel()) for _ in range(3)]
        inside = [Proxy(channel, "web-0.shop", metadata=bearer("web-0")) for channel in channels]
        for one in inside:
            assert await one.first_answer() == ["shop"]
        refused = await port.tried(bearer("web-0"))
        beside = await port.tried(bearer("web"))
        await channels[0].close()
        async with asyncio.timeout(10):
            while (again := await port.tried(bearer("web-0"))) != ["shop"]:
                assert again is grpc.StatusCode.RESOURCE_EXHAUSTED

    assert (refused, beside) == (grpc.StatusCode.RESOURCE_EXHAUSTED, ["shop"])
    assert port.count("token_refusals", reason="too-many") >= 1


class OpenedStream:
    """A stream of which a test says from where it comes, and when it ends."""

    def __init__(self, peer: str, token: str = "web") -> None:
        self._peer, self._token = peer, token
        self._callbacks: list[Callable[[object], None]] = []

    def peer(self) -> str:
        """Return the address."""
        return self._peer

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """Return what it shows."""
        return bearer(self._token)

    def add_done_callback(self, callback: Callable[[object], None], /) -> None:
        """Have this called at the end."""
        self._callbacks.append(callback)

    def end(self) -> None:
        """End it."""
        for callback in self._callbacks:
            callback(None)


async def whose(token: str, _: str) -> TokenOwner:
    """Return the pod that a token names; of ``web`` there is none."""
    return TokenOwner("shop", "web", pod="" if token == "web" else token)


async def test_every_address_has_its_own_streams_where_no_pod_is_known() -> None:
    """Whoever uses up his own takes none of another's; what has ended is not remembered."""
    gate = TokenGate(whose, XdsMetrics(CollectorRegistry()), most_streams=1)
    first, second, third = (OpenedStream(f"ipv4:10.0.0.{peer}") for peer in ("7:1", "7:2", "8:1"))
    await gate.open(first)
    with pytest.raises(TooManyOfPeerError, match=r"found 1 open of ipv4:10\.0\.0\.7, allowed: 1 "):
        await gate.open(second)
    await gate.open(third)
    for one in (first, second, third):
        one.end()

    assert not gate._open


async def test_pods_behind_one_address_do_not_share_their_streams() -> None:
    """A node that masquerades is one address for a hundred sidecars, with a stream for each steered Service."""
    gate = TokenGate(whose, XdsMetrics(CollectorRegistry()), most_streams=2)
    streams = [OpenedStream(f"ipv4:10.0.0.7:{number}", f"web-{number // 2}") for number in range(20)]
    for one in streams:
        await gate.open(one)
    with pytest.raises(TooManyOfPeerError, match=r"found 2 open of pod shop/web-9, allowed: 2 "):
        await gate.open(OpenedStream("ipv4:10.0.0.8:1", "web-9"))
    for one in streams:
        one.end()

    assert not gate._open


async def test_one_address_has_a_bounded_number_of_streams_to_be_judged() -> None:
    """While the API server hangs nobody can say whose they are; who goes away meanwhile is not counted on."""

    async def hangs(_: str, __: str) -> TokenOwner:
        await asyncio.Event().wait()
        raise AssertionError

    gate = TokenGate(hangs, XdsMetrics(CollectorRegistry()), most_streams=1)
    waiting = asyncio.create_task(gate.open(OpenedStream("ipv4:10.0.0.7:1", "web-0")))
    await asyncio.sleep(0)
    with pytest.raises(TooManyOfPeerError, match=r"found 1 open of ipv4:10\.0\.0\.7"):
        await gate.open(OpenedStream("ipv4:10.0.0.7:2", "web-1"))
    waiting.cancel()
    await asyncio.wait((waiting,))

    assert not gate._open


async def closed(port: int) -> bool:
    """Whether a connection that says nothing is closed from the other side."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await asyncio.wait_for(reader.read(), 10) == b""
    except ConnectionError:
        return True
    finally:
        writer.close()


async def test_who_begins_no_handshake_is_sent_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before TLS nobody has proved anything, on either port; gRPC's own limit is two minutes."""
    monkeypatch.setattr(server, "HANDSHAKE_S", 0.1)
    async with serving(TokenPort(tmp_path)) as port:
        assert await closed(port.settings.token_port)
        assert await closed(port.server.port)


async def test_connections_without_a_certificate_leave_descriptors_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the bound the port for tokens takes none; the other port goes on."""
    monkeypatch.setattr(server, "most_connections", lambda: 2)
    async with serving(TokenPort(tmp_path)) as port:
        held = [await asyncio.open_connection("127.0.0.1", port.settings.token_port) for _ in range(2)]
        assert await closed(port.settings.token_port)
        own = port.authority.issue("client", "URI:spiffe://cluster.local/ns/shop/sa/web")
        pair = (own.key.read_bytes(), own.certificate.read_bytes())
        credentials = grpc.ssl_channel_credentials(port.authority.certificate.read_bytes(), *pair)
        async with grpc.aio.secure_channel(f"127.0.0.1:{port.server.port}", credentials) as channel:
            assert await Proxy(channel, "web-0.shop").first_answer() == ["shop"]
        for _, writer in held:
            writer.close()


def test_half_of_the_descriptors_is_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there is no limit."""
    found = []
    for soft in (1024, resource.RLIM_INFINITY, 1):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        found.append(server.most_connections())

    assert found == [512, 2**30 - 1, 1]


async def test_who_connects_and_asks_nothing_is_sent_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may connect to this port, without a certificate: that must cost us no descriptor for long."""
    monkeypatch.setattr(server, "IDLE_S", 0.1)
    running = TokenPort(tmp_path)
    await running.server.start()
    serving = asyncio.create_task(running.server.run())
    async with running.channel() as channel, asyncio.timeout(10.0):
        await channel.channel_ready()
        await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        state = channel.get_state()
    serving.cancel()
    await asyncio.wait((serving,))

    assert state is grpc.ChannelConnectivity.IDLE
