"""Control groups of the real kernel, below a group of our own; skips where v1 is not mounted or not ours to write."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from enforcer.host import Host, real_host
from enforcer.host_paths import HostPaths
from enforcer.journal import FileStorage, Journal
from enforcer.writer import Writer
from mesh.actions import Action, ActionSet
from mesh.topology import ContainerName

pytestmark = pytest.mark.root
PARENT = "askew-test"
CGROUP = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuset", "memory", "blkio")


@pytest.fixture
def group() -> Iterator[str]:
    """A group of our own in every v1 hierarchy, removed at the end."""
    made: list[Path] = []
    name = f"{PARENT}/c{os.getpid()}"
    try:
        for controller in CONTROLLERS:
            if not (CGROUP / controller / "cgroup.procs").exists():
                pytest.skip(f"cgroup v1 has no {controller} at {CGROUP / controller}")
            for path in (CGROUP / controller / PARENT, CGROUP / controller / name):
                try:
                    path.mkdir()
                except FileExistsError:
                    continue
                except OSError as error:
                    pytest.skip(f"cannot make {path}: {error.strerror}")
                made.append(path)
        for inherited in ("cpuset.cpus", "cpuset.mems"):
            value = (CGROUP / "cpuset" / inherited).read_text()
            (CGROUP / "cpuset" / PARENT / inherited).write_text(value)
            (CGROUP / "cpuset" / name / inherited).write_text(value)
        yield name
    finally:
        for path in reversed(made):
            with suppress(OSError):  # another test's group may stand in the parent
                path.rmdir()


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    """A writer on the real host, with a journal of its own, that has taken all back at the end."""
    host = real_host(HostPaths())
    made = Writer(host, Journal(FileStorage(str(tmp_path / "journal"))), clock=lambda: 0.0)
    made.start()
    yield made
    assert made.revert().failed == ()


def apply(writer: Writer, group: str, resource: str, value: float | str, unit: str, *, generation: int = 1) -> None:
    action = Action(ContainerName(group), resource, value, unit)  # type: ignore[arg-type]
    (result,) = writer.apply(ActionSet(generation, 60.0, (action,)))
    assert (result.result, result.detail) == ("applied", "")


def cpu_seconds(group: str, seconds: float) -> float:
    """Return the CPU time that a busy loop in the group gets in that many seconds."""
    script = "import os, sys\nopen(sys.argv[1], 'w').write('0')\nprint('in', flush=True)\nwhile True: pass"
    procs = CGROUP / "cpu" / group / "cgroup.procs"
    process = subprocess.Popen([sys.executable, "-c", script, str(procs)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"in\n"
        ticks = os.sysconf("SC_CLK_TCK")

        def used_s() -> float:
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / ticks

        before, begin = used_s(), time.monotonic()
        time.sleep(seconds)  # real CPU time passes only in real time
        return (used_s() - before) / (time.monotonic() - begin)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_quota_holds_a_busy_loop(group: str, writer: Writer) -> None:
    """A fifth of a core is a fifth of a core: 20 ms in every 100."""
    apply(writer, group, "cpu", 0.2, "cores")

    assert cpu_seconds(group, 2.0) == pytest.approx(0.2, abs=0.04)


def test_a_child_may_not_have_more_than_its_parent(group: str, writer: Writer) -> None:
    """v1 says EINVAL: the action fails with the kernel's word, and nothing has changed."""
    quota = CGROUP / "cpu" / group / "cpu.cfs_quota_us"
    parent = CGROUP / "cpu" / PARENT / "cpu.cfs_quota_us"
    parent.write_text("50000")
    try:
        action = Action(ContainerName(group), "cpu", 1.0, "cores")
        (result,) = writer.apply(ActionSet(1, 60.0, (action,)))
        assert result.result == "failed"
        assert "EINVAL" in result.detail
        assert quota.read_text() == "-1\n"
    finally:
        parent.write_text("-1")


def test_every_value_is_given_back(group: str, writer: Writer) -> None:
    """Quota, CPUs, memory and disk, and then each file again as it was found."""
    names = ("cpu/{}/cpu.cfs_quota_us", "cpuset/{}/cpuset.cpus", "memory/{}/memory.limit_in_bytes")
    paths = [CGROUP / name.format(group) for name in (*names, "blkio/{}/blkio.throttle.write_bps_device")]
    before = [path.read_text() for path in paths]
    apply(writer, group, "cpu", 0.5, "cores", generation=1)
    apply(writer, group, "cpuset", 1.0, "cpus", generation=2)
    apply(writer, group, "memory", 64 * 2**20, "bytes", generation=3)
    during = [path.read_text() for path in paths[:3]]
    if whole_disks():
        apply(writer, group, "disk_write", 4 * 2**20, "bytes_per_s", generation=4)
        assert paths[3].read_text() != before[3]
    writer.revert()

    assert during == ["50000\n", "0\n", "67108864\n"]
    assert [path.read_text() for path in paths] == before


def whole_disks() -> list[str]:
    return [
        path.name for path in Path("/sys/block").iterdir() if not path.name.startswith(("loop", "ram", "zram", "dm"))
    ]


def test_direct_writes_are_throttled(group: str, writer: Writer, tmp_path: Path) -> None:
    """4 MiB/s on the whole disk: 4 MiB of O_DIRECT take about a second (buffered writes escape v1)."""
    apply(writer, group, "disk_write", 4 * 2**20, "bytes_per_s")
    script = (
        "import mmap, os, sys, time\nopen(sys.argv[1], 'w').write('0')\n"
        "file = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_DIRECT)\nblock = mmap.mmap(-1, 1 << 20)\n"
        "begin = time.monotonic()\n[os.write(file, block) for _ in range(4)]\nprint(time.monotonic() - begin)"
    )
    procs = CGROUP / "blkio" / group / "cgroup.procs"
    done = subprocess.run(
        [sys.executable, "-c", script, str(procs), str(tmp_path / "file")], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no O_DIRECT here: {done.stderr.splitlines()[-1]}")

    assert 0.7 <= float(done.stdout) <= 1.8


def test_the_real_hosts_system_groups_are_refused(writer: Writer) -> None:
    """The root group is nobody's container."""
    host: Host = real_host(HostPaths())

    assert host.find(ContainerName("/")) is None
