"""From a container to its control groups. ``/proc/PID/cgroup`` is the truth; names of directories are a way to find it.

systemd   kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid, - as _>.slice/cri-containerd-<id>.scope
cgroupfs  kubepods/burstable/pod<uid>/<id>
(guaranteed pods stand below kubepods directly; CRI-O writes crio-<id>.scope, Docker docker-<id>.scope)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from enforcer.host_files import HostFiles
from mesh.topology import ContainerName

ContainerClass = Literal["latency-critical", "best-effort"]
UNIFIED = ""  # the key of cgroup v2's path, which stands for every controller
_ID = r"[0-9a-f]{64}"
_SCOPE = re.compile(rf"(cri-containerd|crio|docker|libpod|nerdctl)-({_ID})\.scope")
_CRIO_MONITOR = re.compile(rf"crio-conmon-{_ID}\.scope")
_POD_SLICE = re.compile(r"kube(pods|let-kubepods)(-besteffort|-burstable)?-pod[0-9a-f_]{32,36}\.slice")
_POD_DIRECTORY = re.compile(r"pod[0-9a-f-]{32,36}")
_QOS = re.compile(r"(kubelet-)?kubepods(-besteffort|-burstable)?(\.slice)?")
_SYSTEM = frozenset(
    ("system.slice", "user.slice", "machine.slice", "init.scope", "kubelet", "kubelet.slice", "system", "podruntime")
)


@dataclass(frozen=True, slots=True)
class HostContainer:
    """A container as the kernel sees it.

    Attributes
    ----------
    groups:
        Path of its group below the mount, by v1 controller; the key "" is cgroup v2.
    pid:
        One of its processes, or None where none is known.
    """

    name: ContainerName
    groups: Mapping[str, str] = field(default_factory=dict)
    pid: int | None = None
    container_class: ContainerClass = "latency-critical"

    def group(self, controller: str) -> str | None:
        """Return its path for a v1 controller, or for cgroup v2 (the key "")."""
        return self.groups.get(controller)


def parse_proc_cgroup(text: str) -> dict[str, str]:
    """Return path by controller from the text of ``/proc/PID/cgroup``; "" is cgroup v2.

    >>> parse_proc_cgroup("4:cpu,cpuacct:/a/b\\n1:name=systemd:/\\n0::/c\\n")
    {'cpu': 'a/b', 'cpuacct': 'a/b', '': 'c'}
    """
    groups: dict[str, str] = {}
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            if controller or number == "0":
                groups[controller] = path.removeprefix("/")
    return {controller: path for controller, path in groups.items() if "=" not in controller}


def runtime_id(group: str) -> str | None:
    """Return the runtime's container id at the end of a group's path, or None.

    >>> runtime_id("kubepods/burstable/pod1/" + "ab" * 32) == "ab" * 32
    True
    """
    last = group.rpartition("/")[2]
    scope = _SCOPE.fullmatch(last)
    if scope is not None:
        return scope[2]
    return last if re.fullmatch(_ID, last) else None


def pod_groups(group: str) -> tuple[str, ...]:
    """Return the groups above a container that belong to its pod alone, outermost first; none outside Kubernetes.

    >>> pod_groups("kubepods/pod12345678-1234-1234-1234-123456789abc/c")
    ('kubepods/pod12345678-1234-1234-1234-123456789abc',)
    """
    parts = group.split("/")
    first = next((index for index, part in enumerate(parts[:-1]) if _is_pod(part)), None)
    if first is None:
        return ()
    return tuple("/".join(parts[: end + 1]) for end in range(first, len(parts) - 1))


def refuse_group(group: str) -> str | None:
    """Return why no container's value may be written in that group, or None where it may.

    Refused are: the root and empty paths, paths that escape or cannot be written on one line, groups of the system, of
    Kubernetes' QoS classes and of whole pods (the kubelet rewrites them every minute), and a runtime's monitors.
    """
    parts = group.split("/")
    if not group or group == "/":
        return "the root group"
    if any(part in ("", ".", "..") for part in parts) or any(ord(character) < 32 for character in group):
        return "an empty or escaping path"
    last = parts[-1]
    if _QOS.fullmatch(last) or (_QOS.fullmatch(parts[0]) and last in ("burstable", "besteffort", "guaranteed")):
        return "a QoS group of Kubernetes"
    if _is_pod(last):
        return "the group of a whole pod: name one of its containers"
    if _CRIO_MONITOR.fullmatch(last):
        return "a container's monitor"
    if last.endswith((".service", ".slice", ".mount", ".socket")):
        return "a group of systemd's"
    if parts[0] in _SYSTEM and not (len(parts) > 1 and any(_SCOPE.fullmatch(part) for part in parts)):
        return "a group of the system"
    return None


def container_of_pid(
    files: HostFiles, proc: str, name: ContainerName, pid: int, *, container_class: ContainerClass = "latency-critical"
) -> HostContainer | None:
    """Return the container that a process is in, or None where the process has gone. Raises OSError."""
    try:
        groups = parse_proc_cgroup(files.read(f"{proc}/{pid}/cgroup"))
    except (FileNotFoundError, ProcessLookupError):
        return None
    return HostContainer(name, groups, pid, container_class)


def groups_below(files: HostFiles, root: str, *, deepest: int = 8) -> Iterator[str]:
    """Yield the paths of all groups below a mount, parents first. A group that goes meanwhile is left out."""
    pending: list[str] = [""]
    while pending:
        group = pending.pop()
        if group:
            yield group
        if group.count("/") >= deepest:
            continue
        try:
            names = files.directories(f"{root}/{group}" if group else root)
        except OSError:
            continue
        pending.extend(f"{group}/{name}" if group else name for name in reversed(names))


def find_group(groups: Sequence[str], name: str) -> str | None:
    """Return the one group that ``name`` means: its path, a container id (12 digits or more), or its last part.

    Raises
    ------
    LookupError
        where several groups fit.
    """
    wanted = name.strip("/")
    if wanted in groups:
        return wanted
    if re.fullmatch(r"[0-9a-f]{12,64}", wanted):
        found = [group for group in groups if (runtime_id(group) or "").startswith(wanted)]
    else:
        found = [group for group in groups if group.rpartition("/")[2] == wanted]
    if len(found) > 1:
        raise LookupError(f"{len(found)} groups fit: " + ", ".join(found[:3]))
    return found[0] if found else None


def _is_pod(part: str) -> bool:
    return _POD_SLICE.fullmatch(part) is not None or _POD_DIRECTORY.fullmatch(part) is not None
