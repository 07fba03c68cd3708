"""HTB of the real kernel, in namespaces of our own, measured with real TCP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pyroute2 import NetNS
from pyroute2.netlink.exceptions import NetlinkError

from enforcer.cells import Cell, Change
from enforcer.containers_file import ListedContainer
from enforcer.host import Host, real_host
from enforcer.host_files import RealFiles
from enforcer.host_paths import HostPaths
from enforcer.htb import IFB_PREFIX, KIND, HtbSurface
from enforcer.journal import FileStorage, Journal
from enforcer.writer import Writer
from mesh.actions import Action, ActionSet
from mesh.topology import ContainerName
from tests.fakes.fake_host import Killed
from tests.real.namespace_pair import Pair, namespace_pair, need_htb

pytestmark = pytest.mark.root
NAME = ContainerName("cart-0")
MBIT = 1e6


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two joined namespaces; skips where this kernel has no veth or no HTB."""
    try:
        with namespace_pair() as made:
            need_htb(made.receiver)
            yield made
    except NetlinkError as error:
        pytest.skip(f"this kernel cannot make what the test needs: {error}")


@pytest.fixture
def host(pair: Pair) -> Iterator[Host]:
    """The real host, on which ``cart-0`` is the sender."""
    made = real_host(HostPaths(), listed=(ListedContainer(NAME, pid=pair.sender_pid),))
    yield made
    made.close()


@pytest.fixture
def receiving(pair: Pair) -> Iterator[Host]:
    """The real host, on which ``cart-0`` is the receiver."""
    made = real_host(HostPaths(), listed=(ListedContainer(NAME, pid=pair.receiver_pid),))
    yield made
    made.close()


def writer_on(host: Host, directory: Any) -> Writer:
    writer = Writer(host, Journal(FileStorage(f"{directory}/journal")), clock=lambda: 0.0)
    writer.start()
    return writer


def limit(writer: Writer, generation: int, resource: str, rate: float) -> None:
    (result,) = writer.apply(ActionSet(generation, 60.0, (Action(NAME, resource, rate, "bits_per_s"),)))  # type: ignore[arg-type]
    assert (result.result, result.detail) == ("applied", "")


def seconds_at(rate: float) -> float:
    """Return for how long to measure: a burst of 64 KiB is then less than 3 % of all."""
    return max(1.5, 20 * MBIT / rate)


def objects(namespace: str) -> tuple[list[str], list[str]]:
    """Return the links of a namespace, and its qdiscs without the kernel's defaults."""
    with NetNS(namespace) as netlink:
        links = sorted(link.get_attr("IFLA_IFNAME") for link in netlink.get_links())
        qdiscs = [f"{q.get_attr('TCA_KIND')} {q['handle']:x}" for q in netlink.get_qdiscs() if q["handle"]]
    return links, qdiscs


@pytest.mark.parametrize("rate", [5 * MBIT, 20 * MBIT, 100 * MBIT, 500 * MBIT])
def test_tcp_gets_the_rate_and_no_more(pair: Pair, host: Host, tmp_path: Any, rate: float) -> None:
    """HTB counts Ethernet frames: TCP gets 1448 of 1514 bytes, within 0.90 and 1.00 of the rate."""
    limit(writer_on(host, tmp_path), 1, "network_egress", rate)

    assert 0.90 <= pair.measure_bits_per_s(seconds_at(rate)) / rate <= 1.00


@pytest.mark.parametrize("rate", [5 * MBIT, 20 * MBIT, 100 * MBIT, 500 * MBIT])
def test_what_comes_in_is_held_by_an_ifb(pair: Pair, receiving: Host, tmp_path: Any, rate: float) -> None:
    """Ingress of the receiver, limited on its own side, within the same bounds."""
    limit(writer_on(receiving, tmp_path), 1, "network_ingress", rate)

    assert 0.90 <= pair.measure_bits_per_s(seconds_at(rate)) / rate <= 1.00


@pytest.mark.parametrize(("side", "limited"), [("egress", "host"), ("ingress", "receiving")])
def test_a_limit_changes_live(
    pair: Pair, request: pytest.FixtureRequest, tmp_path: Any, side: str, limited: str
) -> None:
    """A second limit is a change of the class: no qdisc is made anew, and traffic follows."""
    writer = writer_on(request.getfixturevalue(limited), tmp_path)
    limit(writer, 1, f"network_{side}", 20 * MBIT)
    first = pair.measure_bits_per_s(1.0)
    limit(writer, 2, f"network_{side}", 60 * MBIT)
    second = pair.measure_bits_per_s(1.0)

    assert 0.90 <= first / (20 * MBIT) <= 1.00
    assert 0.90 <= second / (60 * MBIT) <= 1.00


def test_revert_leaves_the_namespace_as_it_was(pair: Pair, host: Host, tmp_path: Any) -> None:
    """No qdisc, no filter, no ifb stays."""
    before = objects(pair.sender)
    writer = writer_on(host, tmp_path)
    limit(writer, 1, "network_egress", 20 * MBIT)
    limit(writer, 2, "network_ingress", 20 * MBIT)
    during = objects(pair.sender)
    restored = writer.revert()

    assert during != before
    assert objects(pair.sender) == before
    assert restored.failed == ()


def test_a_foreign_qdisc_is_left_alone(pair: Pair, host: Host, tmp_path: Any) -> None:
    """A CNI plugin's TBF, or a person's HTB of another handle, is refused by name."""
    with NetNS(pair.sender) as netlink:
        index = netlink.link_lookup(ifname="eth0")[0]
        netlink.tc("add", "htb", index, 0x1000_0000, default=1)
    before = objects(pair.sender)
    action = Action(NAME, "network_egress", 20 * MBIT, "bits_per_s")
    (result,) = writer_on(host, tmp_path).apply(ActionSet(1, 60.0, (action,)))

    assert result.result == "refused"
    assert "foreign qdisc htb 1000:" in result.detail
    assert objects(pair.sender) == before


def test_the_hosts_own_network_is_refused(host: Host, tmp_path: Any) -> None:
    """A container in the host's namespace shares it with everybody."""
    import os

    name = ContainerName("host-network")
    whole = real_host(HostPaths(), listed=(ListedContainer(name, pid=os.getpid()),))
    action = Action(name, "network_egress", 20 * MBIT, "bits_per_s")
    (result,) = writer_on(whole, tmp_path).apply(ActionSet(1, 60.0, (action,)))

    assert (result.result, result.detail) == ("refused", "host-network uses the host's own network")


class DyingNetlink:
    """Netlink whose process ends before its ``left``-th change."""

    def __init__(self, netlink: Any, left: list[int]) -> None:
        self._netlink, self._left = netlink, left

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._netlink, name)
        if name not in ("tc", "link"):
            return method

        def change(*arguments: Any, **options: Any) -> Any:
            self._left[0] -= 1
            if self._left[0] < 0:
                raise Killed
            return method(*arguments, **options)

        return change


@pytest.mark.parametrize("side", ["egress", "ingress"])
def test_a_writer_may_die_between_any_two_netlink_calls(pair: Pair, side: str) -> None:
    """Whatever part of a tree it leaves, it can be cleared, and also be made whole."""
    before = objects(pair.sender)
    files = RealFiles(())
    step, died = 0, True
    while died:
        left, died = [step], False
        dying = HtbSurface(
            files, "/proc", open_namespace=lambda path, left=left: DyingNetlink(NetNS(path, flags=0), left)
        )
        cell = Cell(KIND, dying.namespace_of(pair.sender_pid), f"eth0 {side}")
        try:
            dying.write((Change(cell, None, "20000000"),))
        except Killed:
            died = True
        dying.close()
        next_one = HtbSurface(files, "/proc")
        if step % 2:
            next_one.write((Change(cell, None, "8000000"),))
            assert next_one.read(cell) == "8000000"
        next_one.write((Change(cell, "20000000", None),))
        next_one.close()
        assert objects(pair.sender) == before
        step += 1

    assert step > 3


def test_a_dying_writer_leaves_only_what_is_marked_as_ours(pair: Pair, host: Host, tmp_path: Any) -> None:
    """The ifb carries our name, the qdisc our handle."""
    writer = writer_on(host, tmp_path)
    limit(writer, 1, "network_ingress", 20 * MBIT)
    links, qdiscs = objects(pair.sender)

    assert [link for link in links if link.startswith(IFB_PREFIX)] != []
    assert "htb 41530000" in qdiscs
