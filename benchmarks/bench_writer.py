"""What does one action cost, journal, read-back and all, beside the bare system call that it is made for?

Prints the median of one changed action for a cgroup, for resctrl (a model in memory: few machines have it) and for HTB
in a namespace of our own (root only), each with its ratio to the bare write of the same value. The journal is on tmpfs
where there is one, as /run is on a host with systemd; what a journal on disk adds is printed last.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from enforcer.containers_file import ListedContainer
from enforcer.host import Host, real_host
from enforcer.host_paths import HostPaths
from enforcer.htb import LEAF_CLASS, ROOT_CLASS
from enforcer.journal import FileStorage, Journal
from enforcer.writer import Writer
from mesh.actions import Action, ActionSet
from mesh.topology import ContainerName
from tests.fakes.agent_service import recorded_host
from tests.fakes.fake_host import host_of, host_tree, v2_group, v2_host
from tests.fakes.recorded_tree import write_tree

ROUNDS = 300
NAME = ContainerName("web")
V1_CPU = Path("/sys/fs/cgroup/cpu")


def median_ms(work: Callable[[int], object], rounds: int = ROUNDS) -> float:
    """Return the median time of ``work(round)`` in milliseconds."""
    times = []
    for number in range(rounds):
        begin = time.perf_counter()
        work(number)
        times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times)


def acting(host: Host, directory: Path, name: ContainerName, resource: str, unit: str, values: tuple[float, float]):  # type: ignore[no-untyped-def]
    """Return a function that makes one action, with another value each time, and the writer behind it."""
    storage = FileStorage(str(directory / f"{resource}.journal"))
    writer = Writer(host, Journal(storage), clock=lambda: 0.0)
    writer.start()

    def act(number: int) -> None:
        action = Action(name, resource, values[number % 2], unit)  # type: ignore[arg-type]
        (result,) = writer.apply(ActionSet(number, 60.0, (action,)))
        assert result.result == "applied", result

    return act, writer


def show(what: str, action_ms: float, bare_ms: float) -> None:
    """Print one row."""
    print(f"{what:34} {action_ms:8.3f} ms  bare write {bare_ms:8.4f} ms  ratio {action_ms / bare_ms:8.1f}")


def bare_write(path: Path, texts: tuple[bytes, bytes]) -> Callable[[int], object]:
    """Return a function that opens, writes and closes, and nothing else."""

    def write(number: int) -> None:
        file = os.open(path, os.O_WRONLY)
        os.write(file, texts[number % 2])
        os.close(file)

    return write


def bench_cgroup(directory: Path) -> None:
    """A quota: on a real v1 group of our own where there is one, else on a recorded tree."""
    group = V1_CPU / "askew-test" / "bench"
    try:
        group.mkdir(parents=True)
    except OSError:
        root = directory / "host"
        root.mkdir()
        cgroup = {"cgroup.controllers": "cpu", "cgroup.procs": "", "web": v2_group()}
        write_tree(root, host_tree(cgroup))
        act, _ = acting(real_host(HostPaths(str(root))), directory, NAME, "cpu", "cores", (0.5, 0.6))
        bare = bare_write(root / "sys/fs/cgroup/web/cpu.max", (b"50000 100000\n", b"60000 100000\n"))
        show("cgroup v2 cpu.max (recorded tree)", median_ms(act), median_ms(bare))
        return
    try:
        name = ContainerName("askew-test/bench")
        act, writer = acting(real_host(HostPaths()), directory, name, "cpu", "cores", (0.5, 0.6))
        action_ms = median_ms(act)
        writer.revert()
        bare_ms = median_ms(bare_write(group / "cpu.cfs_quota_us", (b"50000\n", b"60000\n")))
        show("cgroup v1 cpu quota (real kernel)", action_ms, bare_ms)
    finally:
        group.rmdir()
        with suppress(OSError):  # another run's group may stand in the parent
            group.parent.rmdir()


def bench_resctrl(directory: Path) -> None:
    """Cache ways, on the model: the journal is real, the kernel is not."""
    kernel = v2_host()
    act, _ = acting(host_of(kernel), directory, NAME, "cache", "ways", (4.0, 5.0))
    action_ms = median_ms(act)
    path, lines = "/sys/fs/resctrl/askew-lc-web/schemata", ("L3:0=f;1=f\n", "L3:0=1f;1=1f\n")
    bare_ms = median_ms(lambda number: kernel.write(path, lines[number % 2]))
    show("resctrl cache ways (simulated)", action_ms, bare_ms)


def bench_resctrl_in_fuse(directory: Path) -> None:
    """The same through real system calls: the model answers behind a FUSE mount, and most of the time is FUSE's."""
    root = recorded_host(directory)
    mount = root / "sys/fs/resctrl"
    mount.mkdir()
    served = subprocess.Popen([sys.executable, "-m", "tests.fakes.resctrl_fuse", str(mount), "31", "41"])
    try:
        while not (mount / "schemata").exists():
            if served.poll() is not None:
                print("resctrl in FUSE: left out, FUSE cannot be mounted here")
                return
        act, writer = acting(real_host(HostPaths(str(root))), directory, NAME, "cache", "ways", (4.0, 5.0))
        action_ms = median_ms(act, 100)
        lines = (b"L3:0=f;1=f\n", b"L3:0=1f;1=1f\n")
        bare_ms = median_ms(bare_write(mount / "askew-lc-web/schemata", lines), 100)
        writer.revert()
        show("resctrl cache ways (model in FUSE)", action_ms, bare_ms)
    finally:
        subprocess.run(["fusermount3", "-u", "-z", str(mount)], check=False)
        served.wait(timeout=10)


def bench_htb(directory: Path) -> None:
    """A rate, in a namespace of our own; the bare peer is the one netlink call that changes a class."""
    if os.geteuid() != 0:
        print("HTB: left out, needs root")
        return
    from pyroute2 import NetNS

    from tests.real.namespace_pair import namespace_pair

    with namespace_pair() as pair:
        host = real_host(HostPaths(), listed=(ListedContainer(NAME, pid=pair.sender_pid),))
        act, writer = acting(host, directory, NAME, "network_egress", "bits_per_s", (1e7, 2e7))
        action_ms = median_ms(act, 100)
        with NetNS(pair.sender) as netlink:
            index = netlink.link_lookup(ifname="eth0")[0]

            def bare(number: int) -> None:
                rate = (1_250_000, 2_500_000)[number % 2]
                netlink.tc("replace-class", "htb", index, LEAF_CLASS, parent=ROOT_CLASS, rate=rate, ceil=rate)

            bare_ms = median_ms(bare, 100)
        writer.revert()
        host.close()
    show("HTB egress rate (real kernel)", action_ms, bare_ms)


def bench_disk(directory: Path) -> None:
    """What one durable record of 600 bytes costs on this machine's disk."""
    storage = FileStorage(str(directory / "journal"))
    added_ms = median_ms(lambda number: storage.append(bytes(600), durable=True), 100)
    storage.close()
    print(f"a journal on disk adds             {added_ms:8.3f} ms (fdatasync of one record)")


def main() -> None:
    """Run all of them."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        bench_cgroup(Path(directory))
        bench_resctrl(Path(directory))
        if shutil.which("fusermount3") and os.geteuid() == 0:
            fuse_directory = Path(directory) / "fuse"
            fuse_directory.mkdir()
            bench_resctrl_in_fuse(fuse_directory)
        bench_htb(Path(directory))
    with tempfile.TemporaryDirectory() as directory:
        bench_disk(Path(directory))


if __name__ == "__main__":
    main()
