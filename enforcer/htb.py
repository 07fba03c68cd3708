"""The surface of HTB: a class tree per interface of a container's network namespace, and an ifb for what comes in.

    eth0  (egress)                           eth0  (ingress ffff:)
    +- qdisc htb 4153:  default 10           +- u32, all, preference 0x4153: redirect
       +- class 4153:1     line rate            +- askew-ifb<index>
          +- class 4153:10    the limit            +- qdisc htb 4153:, as on the left

The handle 4153: and the name askew-ifb mark what is ours; any other root or ingress qdisc is foreign and stays. A cell
is one direction of one interface, its value the limit in bits per second. Every step may be taken twice: a writer that
ended in the middle of a tree leaves one that the next writer can complete or clear.
"""

from __future__ import annotations

import errno
import socket
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from enforcer.cells import Cell, Change, Direction
from enforcer.errors import EnforcerError
from enforcer.host_files import HostFiles
from enforcer.network_namespace import open_inside

KIND = "htb"
QDISC = 0x4153_0000  # "AS"
ROOT_CLASS, LEAF_CLASS = QDISC | 0x1, QDISC | 0x10
PREFERENCE = 0x4153
IFB_PREFIX = "askew-ifb"
INGRESS_PARENT = 0xFFFF_0000
ROOT_PARENT = 0xFFFF_FFFF
MATCH_ALL = "0x0/0x0+0"
ETH_P_ALL = 0x0003
LINE_RATE_BYTES_PER_S = 12_500_000_000
LOWEST_BITS_PER_S = 8_000
QUANTUM_BYTES = 60_000
MTU_BYTES = 1_600
_KEPT_OPEN = 8
Side = Literal["egress", "ingress"]
OpenNamespace = Callable[[str], Any]  # pyroute2 ships no types


def _open_namespace(path: str) -> Any:
    from pyroute2 import IPRoute  # only who shapes traffic loads it

    # Not pyroute2's NetNS: it forks to get its socket, and a forked child of a process that serves gRPC crashes.
    try:
        inside = open_inside(
            Path(path), lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_ROUTE)
        )
    except EnforcerError as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from error
        raise
    return IPRoute(fileno=inside.detach())


class HtbSurface:
    """Cells ``htb``: path ``net:[INODE]`` (the namespace), key ``INTERFACE egress|ingress``, value bits per second."""

    def __init__(self, files: HostFiles, proc: str, *, open_namespace: OpenNamespace = _open_namespace) -> None:
        self._files, self._proc, self._open_namespace = files, proc, open_namespace
        self._pids: dict[str, int] = {}
        self._shaped: dict[Cell, int] = {}  # index of the interface that carries a cell's tree, when last seen
        self._open: OrderedDict[str, Any] = OrderedDict()

    @property
    def kinds(self) -> tuple[str, ...]:
        return (KIND,)

    def namespace_of(self, pid: int) -> str:
        """Return ``net:[INODE]`` of a process and remember where it is. Raises OSError."""
        namespace = self._files.link(f"{self._proc}/{pid}/ns/net")
        self._pids[namespace] = pid
        return namespace

    def close(self) -> None:
        """Close all namespaces: an open one lives on though its container has gone."""
        while self._open:
            self._open.popitem()[1].close()

    def read(self, cell: Cell) -> str | None:
        try:
            return self._read(cell)
        except FileNotFoundError:
            return None  # the last process has left the namespace

    def _read(self, cell: Cell) -> str | None:
        with self._in_namespace(cell.path) as netlink:
            shaped = self._shaped.get(cell)
            rate = None if shaped is None else _leaf_rate(netlink, shaped)
            if rate is not None:
                return rate  # the class's handle says that the index is still right, and the tree ours
            index = _index(netlink, cell)
            if index is None:
                return None
            shaped = index if _side(cell) == "egress" else _ifb_of(netlink, index)
            rate = None if shaped is None else _leaf_rate(netlink, shaped)
            if rate is None or shaped is None:
                self._shaped.pop(cell, None)
                _refuse_foreign(netlink, index, cell)
                return None
            self._shaped[cell] = shaped
            return rate

    def write(self, changes: Sequence[Change]) -> None:
        for change in changes:
            try:
                self._write(change)
            except FileNotFoundError:
                if change.after is not None:
                    raise  # nothing is left that could be cleared

    def _write(self, change: Change) -> None:
        with self._in_namespace(change.cell.path) as netlink:
            shaped = self._shaped.get(change.cell)
            if shaped is not None and change.before is not None and change.after is not None:
                _set_class(netlink, shaped, LEAF_CLASS, ROOT_CLASS, max(1, int(change.after) // 8))
                return  # the tree was there when it was looked at: only its limit changes
            index = _index(netlink, change.cell)
            if index is None:
                raise FileNotFoundError(errno.ENOENT, "no such interface", self.place(change.cell))
            _refuse_foreign(netlink, index, change.cell)
            _set(netlink, index, _side(change.cell), change.after)
            self._shaped.pop(change.cell, None)

    def identity(self, cell: Cell) -> str:
        return ""  # the namespace's inode is the path, and ownership is by handle

    def original(self, cell: Cell, found: str | None) -> str | None:
        return None

    def leftovers(self, held: frozenset[Cell]) -> tuple[Change, ...]:
        return ()  # a namespace is looked into only for a container that has a lease

    def same(self, cell: Cell, wanted: str | None, found: str | None) -> bool:
        if wanted is None or found is None:
            return wanted is found
        return abs(int(wanted) - int(found)) < 8  # HTB counts bytes

    def half_done(self, change: Change, found: str | None) -> bool:
        return change.before is None  # the tree was not there: any part of it is ours, and read() saw no foreign one

    def direction(self, change: Change) -> Direction:
        if change.before is None or change.after is None:
            return "move"
        return "widen" if int(change.after) >= int(change.before) else "shrink"

    def rank(self, cell: Cell) -> int:
        return 0

    def together(self, cell: Cell) -> str:
        return ""

    def place(self, cell: Cell) -> str:
        interface, _, side = cell.key.partition(" ")
        return f"{cell.path} {interface} {side} class 4153:10"

    def line(self, cell: Cell, value: str | None) -> str | None:
        return value

    @contextmanager
    def _in_namespace(self, namespace: str) -> Iterator[Any]:
        """Yield netlink in a namespace; what the kernel refuses leaves as OSError. Keeps a few open: 8 ms each."""
        from pyroute2.netlink.exceptions import NetlinkError

        netlink = self._open.get(namespace)
        try:
            if netlink is None:
                netlink = self._open_namespace(self._path_of(namespace))
                self._open[namespace] = netlink
            self._open.move_to_end(namespace)
            yield netlink
        except NetlinkError as error:
            self._drop(namespace)
            raise OSError(error.code, str(error.args[-1]), namespace) from error
        while len(self._open) > _KEPT_OPEN:
            self._open.popitem(last=False)[1].close()

    def _drop(self, namespace: str) -> None:
        netlink = self._open.pop(namespace, None)
        if netlink is not None:
            netlink.close()

    def _path_of(self, namespace: str) -> str:
        """Return a path to a namespace: by the process last seen in it, else by any. Raises FileNotFoundError."""
        known = self._pids.get(namespace)
        pids = (int(name) for name in self._files.names(self._proc) if name.isdigit())
        for pid in (known, *pids) if known else pids:
            try:
                if self.namespace_of(int(pid)) == namespace:
                    return f"{self._proc}/{pid}/ns/net"
            except OSError:
                continue  # a process that has ended, or that we may not look at
        raise FileNotFoundError(errno.ENOENT, "no process is in this network namespace", namespace)


def _side(cell: Cell) -> Side:
    return "egress" if cell.key.endswith(" egress") else "ingress"


def _index(netlink: Any, cell: Cell) -> int | None:
    found = netlink.link_lookup(ifname=cell.key.partition(" ")[0])
    return found[0] if found else None


def _ifb_of(netlink: Any, index: int) -> int | None:
    found = netlink.link_lookup(ifname=f"{IFB_PREFIX}{index}")
    return found[0] if found else None


def _qdisc(netlink: Any, index: int, parent: int) -> tuple[str, int] | None:
    """Return kind and handle of the qdisc at a parent, or None. Handle 0 is the kernel's own default."""
    for qdisc in netlink.get_qdiscs(index=index):
        at_ingress = qdisc.get_attr("TCA_KIND") in ("ingress", "clsact")
        if qdisc["handle"] and (at_ingress if parent == INGRESS_PARENT else qdisc["parent"] == parent):
            return qdisc.get_attr("TCA_KIND"), qdisc["handle"]
    return None


def _refuse_foreign(netlink: Any, index: int, cell: Cell) -> None:
    """Raise OSError EEXIST where another's qdisc stands: a CNI plugin's, or a person's."""
    if _side(cell) == "egress":
        root = _qdisc(netlink, index, ROOT_PARENT)
        if root is not None and root != ("htb", QDISC):
            raise OSError(errno.EEXIST, f"a foreign qdisc {root[0]} {root[1] >> 16:x}: is on it", cell.key)
        return
    ingress = _qdisc(netlink, index, INGRESS_PARENT)
    if ingress is None:
        return
    foreign = any(filter_["info"] >> 16 != PREFERENCE for filter_ in _ingress_filters(netlink, index))
    if ingress[0] != "ingress" or _ifb_of(netlink, index) is None or foreign:
        raise OSError(errno.EEXIST, f"a foreign qdisc {ingress[0]} is on it", cell.key)


def _ingress_filters(netlink: Any, index: int) -> list[Any]:
    return list(netlink.get_filters(index=index, parent=INGRESS_PARENT))


def _leaf_rate(netlink: Any, index: int) -> str | None:
    """Return the limit in bits per second of the tree on an interface, or None where it has none of ours."""
    for found in netlink.get_classes(index):
        if found["handle"] == LEAF_CLASS and found.get_attr("TCA_KIND") == "htb":
            options = found.get_attr("TCA_OPTIONS")
            rate_bytes_per_s = options.get_attr("TCA_HTB_RATE64") or options.get_attr("TCA_HTB_PARMS")["rate"]
            return str(rate_bytes_per_s * 8)
    return None


def _set(netlink: Any, index: int, side: Side, rate: str | None) -> None:
    if side == "egress":
        if rate is None:
            _clear_tree(netlink, index)
        else:
            _set_tree(netlink, index, int(rate))
    elif rate is None:
        _clear_ingress(netlink, index)
    else:
        _set_ingress(netlink, index, int(rate))


def _set_tree(netlink: Any, index: int, rate_bits_per_s: int) -> None:
    if _qdisc(netlink, index, ROOT_PARENT) is None:  # replacing an HTB qdisc is EINVAL, so only if absent
        netlink.tc("add", "htb", index, QDISC, default=LEAF_CLASS & 0xFFFF)
        _set_class(netlink, index, ROOT_CLASS, QDISC, LINE_RATE_BYTES_PER_S)
    elif not any(found["handle"] == ROOT_CLASS for found in netlink.get_classes(index)):
        _set_class(netlink, index, ROOT_CLASS, QDISC, LINE_RATE_BYTES_PER_S)
    _set_class(netlink, index, LEAF_CLASS, ROOT_CLASS, max(1, rate_bits_per_s // 8))


def _set_class(netlink: Any, index: int, handle: int, parent: int, rate_bytes_per_s: int) -> None:
    # Ten milliseconds of the rate, and a packet: on a busy host the timer is late by some, and what is lost is lost.
    burst_bytes = min(2**21, rate_bytes_per_s // 100 + MTU_BYTES)
    netlink.tc(
        "replace-class",
        "htb",
        index,
        handle,
        parent=parent,
        rate=rate_bytes_per_s,
        ceil=rate_bytes_per_s,
        burst=burst_bytes,
        cburst=burst_bytes,
        quantum=QUANTUM_BYTES,
    )


def _clear_tree(netlink: Any, index: int) -> None:
    if _qdisc(netlink, index, ROOT_PARENT) == ("htb", QDISC):
        netlink.tc("del", index=index, parent=ROOT_PARENT)


def _set_ingress(netlink: Any, index: int, rate_bits_per_s: int) -> None:
    """The ifb first, for its name marks all else as ours; the redirection last, when its way is whole."""
    ifb = _ifb_of(netlink, index)
    if ifb is None:
        netlink.link("add", ifname=f"{IFB_PREFIX}{index}", kind="ifb")
        (ifb,) = netlink.link_lookup(ifname=f"{IFB_PREFIX}{index}")
    netlink.link("set", index=ifb, state="up")
    _set_tree(netlink, ifb, rate_bits_per_s)
    if _qdisc(netlink, index, INGRESS_PARENT) is None:
        netlink.tc("add", "ingress", index)
    if not _ingress_filters(netlink, index):  # adding a u32 filter twice makes two
        action = {"kind": "mirred", "direction": "egress", "action": "redirect", "ifindex": ifb}
        netlink.tc(
            "add-filter",
            "u32",
            index,
            parent=INGRESS_PARENT,
            prio=PREFERENCE,
            protocol=ETH_P_ALL,
            target=0x10000,
            keys=[MATCH_ALL],
            action=action,
        )


def _clear_ingress(netlink: Any, index: int) -> None:
    """The reverse: the ifb last, so that what is left after a crash is still marked."""
    ifb = _ifb_of(netlink, index)
    if ifb is None:
        return
    if _qdisc(netlink, index, INGRESS_PARENT) is not None:
        netlink.tc("del", "ingress", index)
    netlink.link("del", index=ifb)
