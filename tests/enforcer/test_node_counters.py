"""``/proc/PID/net/dev``: a fake tree with the kernel's own lines, and the real one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcer.errors import UnreadableAnswerError, VanishedError
from enforcer.node_counters import parse_net_dev, read_counters
from mesh.counter_sample import CounterSample
from mesh.topology import ContainerName

NET_DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:   57156     664    0    0    0     0          0         0    57156     664    0    0    0     0       0          0
  eth0: 26290861   18316    0    0    0     0          0         0   861340   10322    0    0    0     0       0          0
  net1:18446744073709551615 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0
"""  # noqa: E501 - the kernel's own lines
CART = ContainerName("cart-0")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    folder = tmp_path / "42" / "net"
    folder.mkdir(parents=True)
    (folder / "dev").write_text(NET_DEV)
    return tmp_path


def test_all_interfaces_but_loopback_are_summed(proc: Path) -> None:
    """Numbers may touch the colon and may fill 64 bits."""
    sample = read_counters(CART, 42, time_s=5.0, proc_root=proc)
    assert sample == CounterSample(CART, 5.0, 26290861 + 18446744073709551615, 861340 + 7)


def test_interfaces_can_be_named(proc: Path) -> None:
    """Only those count, loopback too if it is asked for."""
    sample = read_counters(CART, 42, time_s=5.0, proc_root=proc, interfaces={"eth0", "lo"})
    assert (sample.receive_bytes, sample.transmit_bytes) == (26290861 + 57156, 861340 + 57156)


def test_an_interface_that_is_not_there_is_an_error(proc: Path) -> None:
    """Not a zero: the message names what there is."""
    with pytest.raises(UnreadableAnswerError, match="found the interfaces lo, eth0, net1, allowed: eth9"):
        read_counters(CART, 42, time_s=5.0, proc_root=proc, interfaces={"eth9"})


def test_a_process_that_is_gone_has_vanished(proc: Path) -> None:
    """The caller forgets the container."""
    with pytest.raises(VanishedError):
        read_counters(CART, 43, time_s=5.0, proc_root=proc)


def test_the_real_file_of_this_process_can_be_read() -> None:
    """Every kernel that runs the tests writes what is expected here."""
    assert parse_net_dev(Path(f"/proc/{os.getpid()}/net/dev").read_text())


@pytest.mark.parametrize("text", ["", "x", "no bar\nfoo\n", NET_DEV + "eth1: 1 2 3\n", NET_DEV + "eth1 " + "1 " * 16])
def test_other_texts_are_refused(text: str) -> None:
    """Missing headers, too few numbers, no colon."""
    with pytest.raises(UnreadableAnswerError):
        parse_net_dev(text)


@given(st.text(max_size=200), st.integers(0, 700))
def test_any_text_is_read_or_refused(noise: str, place: int) -> None:
    """Noise anywhere in the file raises nothing but the room's own error."""
    try:
        parse_net_dev(NET_DEV[:place] + noise + NET_DEV[place:])
    except UnreadableAnswerError:
        return
