"""What runs as the first process of a kernel of our own: cgroup v2 by the real writer, measured, told as JSON.

Not a test module: ``test_cgroup_v2_uml.py`` starts a User-Mode Linux whose init calls :func:`main`, and
``test_cgroup_v2_qemu.py`` an emulated machine. A User-Mode Linux' root is the host's, read-only; everything that a
guest mounts is its own.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

CGROUP = Path("/sys/fs/cgroup")
GROUP = "askew-test/web"
MARK = "ASKEW-GUEST "
POWER_OFF = 0x4321FEDC  # reboot(2)
MOUNTS = (
    ("proc", "/proc", "proc"),
    ("sysfs", "/sys", "sysfs"),
    ("devtmpfs", "/dev", "devtmpfs"),
    ("tmpfs", "/mnt", "tmpfs"),
    ("cgroup2", str(CGROUP), "cgroup2"),
)


def main(measure: Callable[[], dict[str, Any]]) -> None:
    """Mount, measure, tell, power off; never return."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        for source, target, kind in MOUNTS:
            failed = libc.mount(source.encode(), target.encode(), kind.encode(), 0, None) != 0
            if failed and ctypes.get_errno() != errno.EBUSY:  # the kernel may have mounted /dev itself
                raise OSError(ctypes.get_errno(), f"mount {target}")
        answer = measure()
    except BaseException:  # noqa: BLE001  # there is nobody above the first process: the host must hear of it
        answer = {"error": traceback.format_exc()}
    print("\n" + MARK + json.dumps(answer), flush=True)
    libc.reboot(POWER_OFF)


def group_with(controllers: str) -> Path:
    """Return a new group in which these controllers are on."""
    group = CGROUP / GROUP
    for parent in (CGROUP, group.parent):
        parent.mkdir(exist_ok=True)
        (parent / "cgroup.subtree_control").write_text(controllers)
    group.mkdir()
    return group


def started_writer() -> Any:
    """Return the real writer on this kernel."""
    from enforcer.host import real_host
    from enforcer.host_paths import HostPaths
    from enforcer.journal import FileStorage, Journal
    from enforcer.writer import Writer

    writer = Writer(real_host(HostPaths()), Journal(FileStorage("/mnt/journal")), clock=lambda: 0.0)
    writer.start()
    return writer


def measure_limits() -> dict[str, Any]:
    """Return what the writer said, what the kernel then did, and whether all is as it was."""
    group = group_with("+cpu +memory +io")
    before = values(group)
    writer = started_writer()
    results = {
        "cpu": act(writer, "cpu", 0.2, "cores"),
        "memory": act(writer, "memory", 32 << 20, "bytes"),
        "disk_write": act(writer, "disk_write", 1 << 20, "bytes_per_s"),
        "cpuset": act(writer, "cpuset", 1.0, "cpus"),
    }
    limited = values(group)
    seen = {"cores": cores_used(group), "high_events": high_events(group), "write_s": write_s(group)}
    writer.revert()
    return {"results": results, "limited": limited, "seen": seen, "restored": values(group) == before}


def act(writer: Any, resource: Any, value: float | str, unit: Any) -> str:
    from mesh.actions import Action, ActionSet
    from mesh.topology import ContainerName

    (result,) = writer.apply(ActionSet(1, 60.0, (Action(ContainerName(GROUP), resource, value, unit),)))
    return str(result.result)


def values(group: Path) -> Mapping[str, str]:
    return {name: (group / name).read_text().strip() for name in ("cpu.max", "memory.high", "io.max")}


def started(group: Path, script: str) -> subprocess.Popen[bytes]:
    """Start a Python script in the group."""
    enter = f"open({str(group / 'cgroup.procs')!r}, 'w').write('0')\n"
    return subprocess.Popen([sys.executable, "-B", "-c", enter + script])


def cores_used(group: Path) -> float:
    """Return how many cores a busy loop gets."""
    busy = started(group, "while True: pass")
    time.sleep(0.5)
    first, began_s = usage_s(group), time.monotonic()
    time.sleep(1.5)
    used = (usage_s(group) - first) / (time.monotonic() - began_s)
    busy.kill()
    busy.wait()
    return used


def usage_s(group: Path) -> float:
    return int((group / "cpu.stat").read_text().split()[1]) / 1e6


def high_events(group: Path) -> int:
    """Return how often a process that wants 48 MiB ran against ``memory.high``."""
    greedy = started(group, "import time\nkept = bytearray(48 << 20)\ntime.sleep(60)")
    until = time.monotonic() + 30.0  # with a fifth of a busy machine's CPU Python takes long to start
    events = 0
    while not events and time.monotonic() < until:
        time.sleep(0.1)
        counts = dict(line.split() for line in (group / "memory.events").read_text().splitlines())
        events = int(counts["high"])
    greedy.kill()
    greedy.wait()
    return events


def write_s(group: Path) -> float:
    """Return how long a direct write of 2 MiB to the disk takes this process, in the group."""
    (group / "cgroup.procs").write_text("0")
    try:
        disk = os.open("/dev/ubda", os.O_WRONLY | os.O_DIRECT)
        block = mmap.mmap(-1, 256 << 10)
        began_s = time.monotonic()
        for _ in range(8):
            os.write(disk, block)
        os.close(disk)
        return time.monotonic() - began_s
    finally:
        (CGROUP / "cgroup.procs").write_text("0")
