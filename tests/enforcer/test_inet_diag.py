"""The kernel's socket messages: what they say, and that no bytes at all can break the reading."""

from __future__ import annotations

import errno
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcer.errors import UnreadableAnswerError
from enforcer.inet_diag import DUMP_FLAGS, NLM_F_DUMP_INTR, STATES, dump_request, parse_datagram, parse_entry
from tests.enforcer.diag_bytes import CLOSE_WAIT, CLOSED, LISTEN, TIME_WAIT, entry, message, tcp_info


def test_request_asks_for_tcp_sockets_with_their_info() -> None:
    """56 bytes of ``inet_diag_req_v2`` behind the netlink header: family, TCP, INET_DIAG_INFO, states."""
    request = dump_request(socket.AF_INET6, sequence=7)
    assert struct.unpack_from("=IHHII", request) == (72, 20, DUMP_FLAGS, 7, 0)
    assert struct.unpack_from("=BBBxI", request, 16) == (10, 6, 2, STATES)
    assert len(request) == 72


@pytest.mark.parametrize(
    ("state", "asked"), [(1, True), (LISTEN, True), (TIME_WAIT, False), (3, False), (CLOSED, False)]
)
def test_states_that_are_asked_for(state: int, asked: bool) -> None:
    """All that can carry bytes, and listeners; TIME_WAIT, SYN_RECV and CLOSE carry none."""
    assert bool(STATES & (1 << state)) is asked


def test_addresses_of_both_families() -> None:
    """IPv4 has four bytes, IPv6 sixteen, and an IPv4 peer of an IPv6 socket is the same peer."""
    assert parse_entry(entry()).remote == bytes([10, 0, 0, 2])
    six = parse_entry(entry(local="2001:db8::1", remote="2001:db8::2"))
    assert (six.local[-1], six.remote[-1], len(six.remote)) == (1, 2, 16)
    mapped = parse_entry(entry(local="::ffff:10.0.0.1", remote="::ffff:10.0.0.2"))
    assert (mapped.local, mapped.remote) == (bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]))


def test_the_syn_is_no_payload() -> None:
    """A client's acknowledged bytes hold its SYN; what it sent does not."""
    reading = parse_entry(entry(info=tcp_info(acked=1001, received=300, sent=1000)))
    assert (reading.bytes_sent, reading.bytes_received, reading.counted) == (1000, 300, True)


def test_bytes_on_their_way_do_not_count_yet() -> None:
    """Sent and not acknowledged: the acknowledged ones count. Retransmissions count once."""
    assert parse_entry(entry(info=tcp_info(acked=500, received=0, sent=1000))).bytes_sent == 500
    assert parse_entry(entry(info=tcp_info(acked=1001, received=0, sent=1400, repeated=400))).bytes_sent == 1000


@pytest.mark.parametrize("state", [CLOSE_WAIT, CLOSED, 9, 11])
def test_the_peers_fin_is_no_payload(state: int) -> None:
    """In the states behind the peer's FIN the kernel has counted it as a byte received."""
    assert parse_entry(entry(state=state, info=tcp_info(acked=0, received=301))).bytes_received == 300


def test_kernels_before_4_19_have_no_sent_bytes() -> None:
    """Then the acknowledged bytes stand as they are."""
    reading = parse_entry(entry(info=tcp_info(acked=1001, received=300, size=192)))
    assert (reading.bytes_sent, reading.bytes_received, reading.counted) == (1001, 300, True)


@pytest.mark.parametrize("size", [0, 104, 135])
def test_kernels_before_4_1_have_no_byte_counters(size: int) -> None:
    """A shorter ``tcp_info`` gives a socket that says it is not counted, never a number."""
    reading = parse_entry(entry(info=tcp_info(acked=9, received=9, size=size)))
    assert (reading.bytes_sent, reading.counted) == (0, False)


def test_other_attributes_are_stepped_over() -> None:
    """The info may stand behind attributes of any length, padded to four bytes."""
    other = struct.pack("=HHB3x", 5, 8, 1)
    assert parse_entry(entry(before_info=other, info=tcp_info(acked=5, received=0))).bytes_sent == 5


def test_a_datagram_holds_many_sockets_and_an_end() -> None:
    """Messages follow each other; DONE ends the dump; an unreadable one is counted and the rest is read."""
    good, bad = message(entry(info=tcp_info(acked=1, received=1))), message(b"short")
    batch = parse_datagram(good + bad + good + message(bytes(4), kind=3))
    assert (len(batch.readings), batch.malformed, batch.ended, batch.error) == (2, 1, True, 0)


def test_the_kernels_refusal_comes_as_its_errno() -> None:
    """ENOENT means that this kernel has no tcp_diag."""
    batch = parse_datagram(message(struct.pack("=i", -errno.ENOENT) + bytes(16), kind=2))
    assert (batch.error, batch.ended) == (errno.ENOENT, True)


def test_an_interrupted_dump_says_so() -> None:
    """The kernel's flag for a table that changed under the reader is passed on."""
    assert parse_datagram(message(entry(), flags=NLM_F_DUMP_INTR)).interrupted


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_counted(datagram: bytes) -> None:
    """No datagram raises anything, and none that is not empty passes unnoticed."""
    batch = parse_datagram(datagram)
    assert batch.malformed >= 0


@given(
    st.integers(0, 450),
    st.lists(st.tuples(st.integers(0, 450), st.integers(0, 255)), max_size=8),
)
def test_mutilated_messages_are_read_or_counted(cut: int, changes: list[tuple[int, int]]) -> None:
    """A good message, cut anywhere and with bytes changed, gives values or a count, nothing else."""
    data = bytearray(message(entry(info=tcp_info(acked=1, received=1))) + message(entry(local="::1", remote="::2")))
    for place, value in changes:
        data[place % len(data)] = value
    parse_datagram(bytes(data[:cut]))


@given(st.binary(max_size=400))
def test_an_entry_is_read_or_refused(body: bytes) -> None:
    """The only error of a single entry is the room's own."""
    try:
        parse_entry(body)
    except UnreadableAnswerError:
        return
    assert len(body) >= 72
