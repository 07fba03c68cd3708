"""Two network namespaces joined by a veth pair, a process in each, and the rate at which TCP gets through."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pyroute2 import NetNS, netns

SENDER_ADDRESS, RECEIVER_ADDRESS = "198.51.100.1", "198.51.100.2"
PORT = 5001
_ENTER = "import sys; from pyroute2 import netns; netns.setns(sys.argv[1]); "
_WAIT = _ENTER + "print('ready', flush=True); sys.stdin.read()"
_RECEIVE = (
    _ENTER
    + """
import socket, time
server = socket.create_server((sys.argv[2], int(sys.argv[3])))
print('ready', flush=True)
connection = server.accept()[0]
connection.settimeout(10.0)
buffer = bytearray(1 << 18)
warm_up_s, measured_s = 0.4, float(sys.argv[4])
begin = time.monotonic()
while time.monotonic() - begin < warm_up_s:
    connection.recv_into(buffer)
count, first = 0, time.monotonic()
while (now := time.monotonic()) - first < measured_s:
    count += connection.recv_into(buffer)
print(count * 8 / (time.monotonic() - first), flush=True)
"""
)
_SEND = (
    _ENTER
    + """
import socket
with socket.create_connection((sys.argv[2], int(sys.argv[3])), 10.0) as connection:
    block = bytes(1 << 16)
    try:
        while True:
            connection.sendall(block)
    except OSError:
        pass
"""
)


@dataclass(frozen=True)
class Pair:
    """Names of the two namespaces, and a process in the first: the container that is limited."""

    sender: str
    receiver: str
    sender_pid: int
    receiver_pid: int

    def measure_bits_per_s(self, seconds: float) -> float:
        """Return the goodput of one TCP connection from the sender's namespace to the receiver's."""
        arguments = (RECEIVER_ADDRESS, str(PORT))
        receive = _python(_RECEIVE, self.receiver, *arguments, str(seconds))
        assert receive.stdout is not None
        assert receive.stdout.readline() == "ready\n"
        send = _python(_SEND, self.sender, *arguments)
        try:
            return float(receive.stdout.readline())
        finally:
            for process in (send, receive):
                _end(process)


@contextmanager
def namespace_pair() -> Iterator[Pair]:
    """Make both, and remove all of it again."""
    unique = uuid.uuid4().hex[:6]
    names = (f"askew-a-{unique}", f"askew-b-{unique}")
    made: list[str] = []
    processes: list[subprocess.Popen[str]] = []
    try:
        for name in names:
            netns.create(name)
            made.append(name)
        _join(*names)
        for name in names:
            processes.append(_python(_WAIT, name))
            assert processes[-1].stdout is not None
            assert processes[-1].stdout.readline() == "ready\n"
        yield Pair(*names, processes[0].pid, processes[1].pid)
    finally:
        for process in processes:
            _end(process)
        for name in made:
            netns.remove(name)


def need_htb(namespace: str) -> None:
    """Raise NetlinkError where this kernel has no HTB or no ifb."""
    with NetNS(namespace) as netlink:
        index = netlink.link_lookup(ifname="lo")[0]
        netlink.tc("add", "htb", index, 0x1000_0000, default=1)
        netlink.link("add", ifname="probe-ifb", kind="ifb")
        netlink.link("del", ifname="probe-ifb")
        netlink.tc("del", index=index, parent=0xFFFF_FFFF)


def _join(one: str, other: str) -> None:
    with NetNS(one) as first, NetNS(other) as second:
        first.link("add", ifname="eth0", kind="veth", peer={"ifname": "eth0", "net_ns_fd": other})
        for netlink, address in ((first, SENDER_ADDRESS), (second, RECEIVER_ADDRESS)):
            index = netlink.link_lookup(ifname="eth0")[0]
            netlink.addr("add", index=index, address=address, prefixlen=24)
            netlink.link("set", index=index, state="up")


def _python(script: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
