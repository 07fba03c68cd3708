"""Both kernel ways of measuring, against real TCP with known byte counts in real network namespaces."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from enforcer.network_namespace import ContainerNetwork
from enforcer.packet_capture import CaptureSettings, PacketCapture
from enforcer.socket_counters import SocketCounters, SocketSettings
from mesh.link_measurement import LinkBytes, LinkMeasurer, Measurement, Unmeasured
from mesh.topology import Container, ContainerName, NodeName, ServiceName
from tests.real.network_namespaces import Host, Talk, missing, two_hosts

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(missing()), reason=missing() or "-")]

Way = Callable[..., LinkMeasurer]
WAYS: list[Way] = [SocketCounters, PacketCapture]
BOTH_WAYS = pytest.mark.parametrize("way", WAYS, ids=["sockets", "capture"])
WINDOW_S = 0.6


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with two_hosts() as pair:
        yield pair


def container(host: Host) -> Container:
    return Container(ContainerName(host.name), ServiceName("x.test"), NodeName("n1"), host.ipv4)


async def measured(
    way: Way,
    host: Host,
    traffic: Callable[[], None],
    *,
    window_s: float = WINDOW_S,
    addresses: tuple[str, ...] = (),
    **settings: object,
) -> Measurement:
    """Measure ``host`` while ``traffic`` runs, which starts once the window is open."""
    loop, opened = asyncio.get_running_loop(), asyncio.Event()
    network = ContainerNetwork(host.namespace, addresses)
    measurer = way(lambda _: network, on_open=lambda: loop.call_soon_threadsafe(opened.set), **settings)
    async with asyncio.timeout(40.0):
        measuring = asyncio.create_task(measurer.measure(container(host), window_s=window_s))
        measuring.add_done_callback(lambda _: opened.set())  # it may be refused before it opens
        await opened.wait()
        if not measuring.done():
            await asyncio.to_thread(traffic)
        result = await measuring
    assert isinstance(result, Measurement), result
    return result


@BOTH_WAYS
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
async def test_client_side_sees_every_byte_of_both_directions(hosts: tuple[Host, Host], way: Way, family: str) -> None:
    """A standing connection: exactly the payload of the window, not what went before it.

    What TCP had to send again crosses the interface once more: the capture sees it, the socket counters do not.
    """
    client, server = hosts
    address = getattr(server, family)
    with server.listen(address, port=5001) as listener:
        talk = Talk.between(client, listener)
        talk.exchange(request_bytes=70_000, response_bytes=30_000)
        result = await measured(way, client, lambda: talk.exchange(request_bytes=500_000, response_bytes=2_000_000))
        repeated = talk.repeated_bytes() if way is PacketCapture else (0, 0)
        talk.close()
    [link] = result.links
    assert (link.peer, link.port, link.side, link.connections) == (address, 5001, "client", 1)
    assert 0 <= link.bytes_sent - 500_000 <= repeated[0]
    assert 0 <= link.bytes_received - 2_000_000 <= repeated[1]
    assert result.complete, result.notes


@BOTH_WAYS
async def test_server_side_is_seen_under_its_own_port(hosts: tuple[Host, Host], way: Way) -> None:
    """On the server, the peer is the client's address and the port is the one that is served."""
    client, server = hosts
    with server.listen(server.ipv4, port=5001) as listener:
        talk = Talk.between(client, listener)
        result = await measured(way, server, lambda: talk.exchange(request_bytes=1000, response_bytes=20_000))
        talk.close()
    assert result.links == (LinkBytes(client.ipv4, 5001, "server", 20_000, 1000, connections=1),)


@BOTH_WAYS
async def test_short_connections_are_not_lost(hosts: tuple[Host, Host], way: Way) -> None:
    """Connections that open and close inside the window count to the byte: no SYN, no FIN counted as payload."""
    client, server = hosts
    with server.listen(server.ipv4, port=5001) as four, server.listen(server.ipv6, port=5002) as six:
        calls = [(opened, four) for opened in client.clients(four, count=40)]
        calls += [(opened, six) for opened in client.clients(six, count=10)]

        def traffic() -> None:
            for opened, listener in calls:
                talk = Talk.over(opened, listener)
                talk.exchange(request_bytes=100, response_bytes=900)
                talk.close()

        result = await measured(way, client, traffic, window_s=1.0)
    assert set(result.links) == {
        LinkBytes(server.ipv4, 5001, "client", 4_000, 36_000, connections=40),
        LinkBytes(server.ipv6, 5002, "client", 1_000, 9_000, connections=10),
    }
    assert result.complete, result.notes


@BOTH_WAYS
async def test_what_stays_inside_the_container_is_no_link(hosts: tuple[Host, Host], way: Way) -> None:
    """App and sidecar talk over loopback, or over the container's own address: not a byte leaves."""
    client, _ = hosts
    with client.listen("127.0.0.1") as loopback, client.listen(client.ipv4) as own:

        def traffic() -> None:
            for listener in (loopback, own):
                talk = Talk.between(client, listener)
                talk.exchange(request_bytes=5_000, response_bytes=5_000)
                talk.close()

        result = await measured(way, client, traffic)
    assert result.links == ()


@BOTH_WAYS
async def test_a_container_in_a_shared_namespace_sees_only_its_addresses(hosts: tuple[Host, Host], way: Way) -> None:
    """Host network and the lab: several containers on loopback addresses of one namespace."""
    host, _ = hosts
    with host.listen("127.0.1.1", port=5001) as mine, host.listen("127.0.2.2", port=5001) as other:
        talks = [Talk.between(host, listener) for listener in (mine, other)]

        def traffic() -> None:
            for talk in talks:
                talk.exchange(request_bytes=1_000, response_bytes=20_000)

        result = await measured(way, host, traffic, addresses=("127.0.1.1",))
        for talk in talks:
            talk.close()
    assert result.links == (LinkBytes("127.0.0.1", 5001, "server", 20_000, 1_000, connections=1),)


@BOTH_WAYS
async def test_the_measurement_says_what_it_cost(hosts: tuple[Host, Host], way: Way) -> None:
    """The cost is the processor time of the measuring thread: more than nothing, less than the window."""
    result = await measured(way, hosts[0], lambda: None)
    assert 0.0 < result.cost_cpu_s < result.window_s


@BOTH_WAYS
async def test_a_vanished_container_is_a_result(hosts: tuple[Host, Host], way: Way) -> None:
    """No namespace, no error: the reason comes back."""
    gone = Host("askew-test-gone", "", "", "")
    measurer = way(lambda _: ContainerNetwork(gone.namespace))
    result = await measurer.measure(container(gone), window_s=0.1)
    assert isinstance(result, Unmeasured)
    assert "No such file" in result.reason


@BOTH_WAYS
async def test_cancelling_ends_the_measurement_at_once(hosts: tuple[Host, Host], way: Way) -> None:
    """A cancelled measurement leaves no thread behind, however long its window was."""
    loop, opened = asyncio.get_running_loop(), asyncio.Event()
    network = ContainerNetwork(hosts[0].namespace)
    measurer = way(lambda _: network, on_open=lambda: loop.call_soon_threadsafe(opened.set))
    task = asyncio.create_task(measurer.measure(container(hosts[0]), window_s=3600.0))
    await opened.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(10.0):
            await task


async def test_a_reset_is_reported_as_missing_bytes(hosts: tuple[Host, Host]) -> None:
    """A socket that its own side resets loses its counters in the kernel: the measurement is incomplete."""
    client, server = hosts
    with server.listen(server.ipv4) as listener:

        def traffic() -> None:
            talk = Talk.between(client, listener)
            talk.exchange(request_bytes=1_000, response_bytes=0)
            talk.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            talk.client.close()
            talk.server.close()

        result = await measured(SocketCounters, client, traffic)
    assert not result.complete
    assert any("reset" in note for note in result.notes)


async def test_lost_reports_are_reported(hosts: tuple[Host, Host]) -> None:
    """A buffer too small for the reports of a burst: incomplete, and the note says why."""
    client, server = hosts
    settings = SocketSettings(report_buffer_bytes=2048, drain_s=5.0)
    with server.listen(server.ipv4) as listener:
        calls = client.clients(listener, count=50)

        def traffic() -> None:
            for opened in calls:
                talk = Talk.over(opened, listener)
                talk.exchange(request_bytes=10, response_bytes=10)
                talk.close()

        result = await measured(SocketCounters, client, traffic, settings=settings)
    assert not result.complete
    assert any("buffer for reports" in note for note in result.notes)


async def test_the_capture_ends_at_its_packet_limit(hosts: tuple[Host, Host]) -> None:
    """The limit on packets ends the window early, and the note says so."""
    client, server = hosts
    with server.listen(server.ipv4) as listener:
        talk = Talk.between(client, listener)

        def traffic() -> None:
            for _ in range(50):
                talk.exchange(request_bytes=1, response_bytes=1)

        result = await measured(
            PacketCapture, client, traffic, window_s=30.0, settings=CaptureSettings(most_packets=20)
        )
        talk.close()
    assert result.window_s < 30.0
    assert any("the limit" in note for note in result.notes)


async def test_the_capture_counts_udp_too(hosts: tuple[Host, Host]) -> None:
    """UDP has no socket counters; the capture has it, fragments of one datagram included."""
    client, server = hosts
    with (
        server.datagrams() as receiver,
        client.datagrams() as sender,
    ):
        receiver.bind((server.ipv4, 5353))
        result = await measured(
            PacketCapture, client, lambda: _send_datagram(sender, receiver, (server.ipv4, 5353), 9_000)
        )
    assert [(link.peer, link.port, link.bytes_sent) for link in result.links] == [(server.ipv4, 5353, 9_000)]


def _send_datagram(sender: socket.socket, receiver: socket.socket, to: tuple[str, int], size: int) -> None:
    sender.sendto(bytes(size), to)
    assert len(receiver.recv(size + 1)) == size
