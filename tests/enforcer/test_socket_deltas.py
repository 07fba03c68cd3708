"""Snapshots and reports of closed sockets to bytes per link."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from enforcer.inet_diag import LISTENING, SocketReading
from enforcer.socket_deltas import packed_addresses, socket_deltas
from mesh.link_measurement import LinkBytes

ME, PEER, OTHER = (bytes([10, 0, 0, last]) for last in (1, 2, 3))


def reading(
    cookie: int,
    sent: int,
    received: int,
    *,
    local: bytes = ME,
    local_port: int = 40000,
    remote: bytes = PEER,
    remote_port: int = 80,
) -> SocketReading:
    return SocketReading(cookie, 1, local, local_port, remote, remote_port, sent, received, counted=True)


def listener(port: int, *, cookie: int = 999) -> SocketReading:
    return SocketReading(cookie, LISTENING, bytes(4), port, bytes(4), 0)


def test_a_standing_connection_counts_what_it_gained() -> None:
    """Last minus first."""
    deltas = socket_deltas([reading(1, 100, 1000)], [reading(1, 150, 5000)], [])
    assert deltas.links == (LinkBytes("10.0.0.2", 80, "client", 50, 4000, 1),)


def test_a_connection_that_opened_and_closed_counts_whole() -> None:
    """Neither snapshot has it; the report does."""
    assert socket_deltas([], [], [reading(1, 10, 20)]).links == (LinkBytes("10.0.0.2", 80, "client", 10, 20, 1),)


def test_a_connection_that_closed_counts_what_it_gained() -> None:
    """Report minus first snapshot."""
    deltas = socket_deltas([reading(1, 100, 100)], [], [reading(1, 130, 110)])
    assert deltas.links == (LinkBytes("10.0.0.2", 80, "client", 30, 10, 1),)
    assert deltas.lost == 0


def test_a_connection_that_closed_after_the_last_snapshot_counts_once() -> None:
    """Its report may come in too: the snapshot's number is the window's."""
    deltas = socket_deltas([], [reading(1, 10, 0)], [reading(1, 15, 0)])
    assert deltas.links == (LinkBytes("10.0.0.2", 80, "client", 10, 0, 1),)


def test_a_connection_that_vanished_without_a_report_is_lost() -> None:
    """Nothing is made up: it is counted as lost."""
    deltas = socket_deltas([reading(1, 100, 100)], [], [])
    assert (deltas.links, deltas.lost) == ((), 1)


def test_a_listener_makes_its_connections_server_side() -> None:
    """Peers of a served port are summed under that port, whatever port they come from."""
    connections = [reading(n, 10, 1, local_port=8080, remote_port=50000 + n) for n in range(3)]
    deltas = socket_deltas([listener(8080)], connections, [])
    assert deltas.links == (LinkBytes("10.0.0.2", 8080, "server", 30, 3, 3),)


def test_a_closed_listener_is_no_lost_connection() -> None:
    """Listeners are reported as destroyed too, without a peer."""
    closed = SocketReading(999, 7, bytes(4), 8080, bytes(4), 0, 0, 0, counted=True)
    assert socket_deltas([listener(8080)], [], [closed]).aborted == 0


def test_a_reset_by_its_own_side_is_counted() -> None:
    """The kernel wipes peer and counters before it reports."""
    wiped = reading(1, 0, 0, remote=bytes(4), remote_port=0)
    assert socket_deltas([reading(1, 5, 5)], [], [wiped]).aborted == 1


def test_a_redirected_call_to_the_sidecar_is_inside() -> None:
    """The app believes that it talks to a service, but the sidecar in the same namespace has the other end."""
    app = reading(1, 500, 500, local_port=40001, remote=bytes([10, 96, 0, 9]), remote_port=9080)
    sidecar = reading(2, 500, 500, local_port=15001, remote=ME, remote_port=40001)
    upstream = reading(3, 600, 600, local_port=40002, remote=PEER, remote_port=9080)
    deltas = socket_deltas([], [app, sidecar, upstream], [])
    assert deltas.links == (LinkBytes("10.0.0.2", 9080, "client", 600, 600, 1),)
    assert deltas.inside == 2


def test_a_shared_namespace_keeps_only_the_containers_addresses() -> None:
    """Sockets of neighbours on the same host are not the container's."""
    mine, theirs = reading(1, 10, 10), reading(2, 99, 99, local=OTHER)
    deltas = socket_deltas([], [mine, theirs], [], addresses=packed_addresses(["10.0.0.1"]))
    assert deltas.links == (LinkBytes("10.0.0.2", 80, "client", 10, 10, 1),)


@given(st.data())
def test_any_split_into_snapshots_and_reports_conserves_bytes(data: st.DataObject) -> None:
    """Whatever opens and closes when: the links sum to what every connection gained, per peer."""
    first, last, closed = [], [], []
    gained: Counter[str] = Counter()
    for cookie in range(data.draw(st.integers(0, 20))):
        before, gain = data.draw(st.integers(0, 1000)), data.draw(st.integers(0, 1000))
        place = data.draw(st.integers(2, 5))
        known = data.draw(st.booleans())
        remote = bytes([10, 0, 0, place])
        if known:
            first.append(reading(cookie, before, before, local_port=30000 + cookie, remote=remote))
        end = reading(
            cookie, (before if known else 0) + gain, (before if known else 0), local_port=30000 + cookie, remote=remote
        )
        (last if data.draw(st.booleans()) else closed).append(end)
        gained[f"10.0.0.{place}"] += gain
    links = socket_deltas(first, last, closed).links
    assert {link.peer: link.bytes_sent for link in links} == {peer: sent for peer, sent in gained.items() if sent}
    assert sum(link.bytes_received for link in links) == 0
