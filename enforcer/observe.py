"""Counters of the node and its containers, cumulative: what ``Observe`` tells, and what the loop divides by time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from enforcer.container_paths import UNIFIED, HostContainer
from enforcer.errors import EnforcerError
from enforcer.host import Host
from enforcer.host_paths import HostPaths
from enforcer.node_counters import read_counters
from enforcer.proc_files import busy_ticks, waited_s
from enforcer.proto import node_agent_pb2 as pb

PRESSURES = ("cpu", "memory", "io")


@dataclass(frozen=True, slots=True)
class ContainerUse:
    """What a container has used so far; None where this host does not say."""

    cpu_s: float | None = None
    memory_bytes: int | None = None
    kept_memory_bytes: int | None = None
    """What a limit below would take from it: v2's memory without file pages that wait to be dropped; v1's whole use."""
    disk_bytes: tuple[int, int] | None = None
    """Read and written."""
    network_bytes: tuple[int, int] | None = None
    """Received and sent."""


def container_use(host: Host, container: HostContainer) -> ContainerUse:
    """Return what a container has used, from its control groups, v2's or v1's, and its network namespace."""
    roots = host.group_roots()
    unified, cpu, memory, disk = (
        f"{roots[key]}/{group}" if key in roots and (group := container.group(key)) else None
        for key in (UNIFIED, "cpuacct", "memory", "blkio")
    )
    used_cpu_s = _cpu_v2(unified) if unified else None
    if used_cpu_s is None and cpu:
        nanoseconds = _number(f"{cpu}/cpuacct.usage")
        used_cpu_s = None if nanoseconds is None else nanoseconds / 1e9
    used_memory = _number(f"{unified}/memory.current") if unified else None
    kept_memory = None if used_memory is None else max(0, used_memory - _droppable(f"{unified}/memory.stat"))
    if used_memory is None and memory:
        used_memory = kept_memory = _number(f"{memory}/memory.usage_in_bytes")
    used_disk = _disk_v2(f"{unified}/io.stat") if unified else None
    if used_disk is None and disk:
        used_disk = _disk_v1(f"{disk}/blkio.throttle.io_service_bytes")
    return ContainerUse(used_cpu_s, used_memory, kept_memory, used_disk, _network(host, container))


def observe(host: Host, containers: Iterable[HostContainer], *, time_s: float) -> pb.ObserveResponse:
    """Return the counters of a node and of ``containers``. What cannot be read is absent. Blocks for milliseconds."""
    answer = observe_node(host.paths, time_s=time_s)
    for container in containers:
        use = container_use(host, container)
        counters = answer.containers.add(container=container.name, cpu_s=use.cpu_s, memory_bytes=use.memory_bytes)
        if use.network_bytes is not None:
            counters.receive_bytes, counters.transmit_bytes = use.network_bytes
    return answer


def observe_node(paths: HostPaths, *, time_s: float) -> pb.ObserveResponse:
    """Return the counters of a node alone. ``busy_cpu_s`` is 0 where it cannot be read."""
    answer = pb.ObserveResponse(
        time_s=time_s,
        busy_cpu_s=_busy_cpu_s(paths),
        cpus=os.cpu_count() or 1,
        memory_used_bytes=_memory_used_bytes(paths),
        pressure_s=_pressures(paths),
    )
    moved, cached = _monitored(paths, "mbm_total_bytes"), _monitored(paths, "llc_occupancy")
    if moved is not None:
        answer.memory_moved_bytes = moved
    if cached is not None:
        answer.cache_used_bytes = cached
    return answer


def _network(host: Host, container: HostContainer) -> tuple[int, int] | None:
    if container.pid is None:
        return None
    with suppress(EnforcerError):
        sample = read_counters(container.name, container.pid, time_s=0.0, proc_root=Path(host.paths.proc))
        return int(sample.receive_bytes), int(sample.transmit_bytes)
    return None


def _droppable(file: str) -> int:
    for line in _lines(file):
        key, _, value = line.partition(" ")
        if key == "inactive_file" and value.isdigit():
            return int(value)
    return 0


def _disk_v2(file: str) -> tuple[int, int] | None:
    """Return bytes read and written on all disks; None without the file. A group without I/O has an empty one."""
    if not os.path.exists(file):
        return None
    fields = [field.partition("=") for line in _lines(file) for field in line.split()[1:]]
    read, written = (
        sum(int(v) for key, _, v in fields if key == name and v.isdigit()) for name in ("rbytes", "wbytes")
    )
    return read, written


def _disk_v1(file: str) -> tuple[int, int] | None:
    if not os.path.exists(file):
        return None
    rows = [line.split() for line in _lines(file)]
    read, written = (
        sum(int(row[2]) for row in rows if len(row) == 3 and row[1] == name and row[2].isdigit())
        for name in ("Read", "Write")
    )
    return read, written


def _cpu_v2(group: str) -> float | None:
    for line in _lines(f"{group}/cpu.stat"):
        key, _, value = line.partition(" ")
        if key == "usage_usec" and value.isdigit():
            return int(value) / 1e6
    return None


def _busy_cpu_s(paths: HostPaths) -> float:
    ticks = busy_ticks("\n".join(_lines(f"{paths.proc}/stat")[:1]))
    return (ticks or 0) / os.sysconf("SC_CLK_TCK")


def _memory_used_bytes(paths: HostPaths) -> int:
    found = {line.partition(":")[0]: line.split()[1] for line in _lines(f"{paths.proc}/meminfo") if ":" in line}
    return max(0, int(found.get("MemTotal", 0)) - int(found.get("MemAvailable", 0))) * 1024


def _pressures(paths: HostPaths) -> dict[str, float]:
    """Return seconds in which some task waited, by resource; nothing where the kernel has no PSI."""
    read = {resource: waited_s("\n".join(_lines(f"{paths.proc}/pressure/{resource}"))) for resource in PRESSURES}
    return {resource: seconds for resource, seconds in read.items() if seconds is not None}


def _monitored(paths: HostPaths, file: str) -> int | None:
    """Return a counter of resctrl's monitor, summed over domains, for what is in no other group; None without it."""
    domains = Path(paths.resctrl, "mon_data")
    try:
        values = [_number(str(domain / file)) for domain in domains.iterdir()]
    except OSError:
        return None
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _number(path: str) -> int | None:
    text = next(iter(_lines(path)), "")
    return int(text) if text.isdigit() else None


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
