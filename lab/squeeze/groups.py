"""Control groups of our own below ``askew-test``, on cgroup v1 or v2; gone at the end.

What else runs on the machine would be in every figure. So all of the experiment together weighs 64 times as much as one
of the machine's other processes; inside it every group weighs the same, but for the driver's, which must never wait.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from lab.errors import StartError

CGROUP = Path("/sys/fs/cgroup")
PARENT = "askew-test"
V1_CONTROLLERS = ("cpu", "cpuacct")
WHOLE_WEIGHT = (65536, 6400)  # cpu.shares of v1, cpu.weight of v2: 64 times the default
DRIVER_WEIGHT = (8192, 800)
DRIVER = "driver"


@contextmanager
def own_groups(names: Sequence[str]) -> Iterator[str]:
    """Make a group for each name and one for this process, and yield the path of what they stand in.

    Raises StartError where we may not.
    """
    is_v1 = (CGROUP / "cpu").is_dir()
    roots = [CGROUP / controller for controller in V1_CONTROLLERS] if is_v1 else [CGROUP]
    path = f"{PARENT}/squeeze-{os.getpid()}"
    made: list[Path] = []
    try:
        groups = (PARENT, path, *(f"{path}/{name}" for name in (*names, DRIVER)))
        directories = [root / group for group in groups for root in roots]
        made.extend(directory for directory in directories if not directory.is_dir())
        for directory in directories:
            _make(directory, is_v1=is_v1)
        _weigh(PARENT, WHOLE_WEIGHT)
        _weigh(path, WHOLE_WEIGHT)
        _weigh(f"{path}/{DRIVER}", DRIVER_WEIGHT)
        enter(f"{path}/{DRIVER}", os.getpid())
        yield path
    except OSError as error:
        raise StartError(f"cannot make {error.filename}: {error.strerror}; the experiment needs root") from error
    finally:
        enter("", os.getpid())
        for directory in reversed(made):
            with suppress(OSError):  # another run's group may stand in the parent
                directory.rmdir()


def _make(directory: Path, *, is_v1: bool) -> None:
    """Make a group with a CPU controller."""
    directory.mkdir(exist_ok=True)
    if not is_v1:
        (directory.parent / "cgroup.subtree_control").write_text("+cpu")


def _weigh(group: str, weight: tuple[int, int]) -> None:
    v1 = CGROUP / "cpu" / group
    if v1.is_dir():
        (v1 / "cpu.shares").write_text(str(weight[0]))
    else:
        (CGROUP / group / "cpu.weight").write_text(str(weight[1]))


def enter(group: str, pid: int) -> None:
    """Move a process into a group, in every hierarchy that has it."""
    for root in (CGROUP, *(CGROUP / controller for controller in V1_CONTROLLERS)):
        if (root / group / "cgroup.procs").exists():
            (root / group / "cgroup.procs").write_text(str(pid))


def cores_allowed(group: str) -> float | None:
    """Return the CPU limit of a group in cores, None for no limit."""
    v1 = CGROUP / "cpu" / group
    if v1.is_dir():
        quota = int((v1 / "cpu.cfs_quota_us").read_text())
        return None if quota < 0 else quota / int((v1 / "cpu.cfs_period_us").read_text())
    quota_text, period = (CGROUP / group / "cpu.max").read_text().split()
    return None if quota_text == "max" else int(quota_text) / int(period)
