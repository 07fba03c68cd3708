"""The real writer on resctrl's real file interface, with a model of the kernel behind it: errno and last_cmd_status."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from enforcer.extents import read_extents
from enforcer.host import real_host
from enforcer.host_paths import HostPaths
from enforcer.journal import FileStorage, Journal
from enforcer.results import ActionResult
from enforcer.writer import Writer
from mesh.actions import Action, ActionSet
from mesh.topology import ContainerName
from tests.fakes.agent_service import recorded_host

pytestmark = pytest.mark.root
THREADS = ("31", "41")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Path]:
    """A recorded host whose ``/sys/fs/resctrl`` is the model's mount."""
    pytest.importorskip("mfusepy", reason="mfusepy is not installed", exc_type=ImportError)
    if shutil.which("fusermount3") is None or not os.access("/dev/fuse", os.W_OK):
        pytest.skip("no FUSE here (Debian package fuse3, and /dev/fuse)")
    root = recorded_host(tmp_path)
    mount = root / "sys/fs/resctrl"
    mount.mkdir()
    served = subprocess.Popen([sys.executable, "-m", "tests.fakes.resctrl_fuse", str(mount), *THREADS])
    try:
        while not (mount / "schemata").exists():
            if served.poll() is not None:
                pytest.skip(f"FUSE cannot be mounted here: exit code {served.returncode}")
        yield root
    finally:
        subprocess.run(["fusermount3", "-u", "-z", str(mount)], check=False, capture_output=True)
        served.wait(timeout=10)


@pytest.fixture
def writer(host: Path, tmp_path: Path) -> Iterator[Writer]:
    storage = FileStorage(str(tmp_path / "journal"))
    made = Writer(real_host(HostPaths(str(host))), Journal(storage), clock=lambda: 0.0)
    made.start()
    yield made
    storage.close()


def act(writer: Writer, *actions: tuple[str, str, float, str]) -> tuple[ActionResult, ...]:
    made = tuple(Action(ContainerName(name), resource, value, unit) for name, resource, value, unit in actions)  # type: ignore[arg-type]
    return writer.apply(ActionSet(1, 60.0, made))


def read(host: Path, inside: str) -> str:
    return (host / "sys/fs/resctrl" / inside).read_text()


def test_ways_and_bandwidth_are_set_read_back_and_given_back(writer: Writer, host: Path) -> None:
    """Our class holds the container's threads; 35 % becomes 40 %, as the hardware rounds; at the end it is gone."""
    before = sorted(os.listdir(host / "sys/fs/resctrl"))

    results = act(writer, ("web", "cache", 4.0, "ways"), ("web", "memory_bandwidth", 35.0, "percent"))
    schemata, tasks = read(host, "askew-lc-web/schemata"), read(host, "askew-lc-web/tasks")
    writer.revert()

    assert [result.result for result in results] == ["applied", "applied"]
    assert ("L3:0=00f;1=00f" in schemata, "MB:0=  40;1=  40" in schemata, tasks) == (True, True, "31\n")
    assert sorted(os.listdir(host / "sys/fs/resctrl")) == before
    assert read(host, "tasks").split() == list(THREADS)


def test_what_the_kernel_says_reaches_the_result(writer: Writer, host: Path) -> None:
    """Others have taken all classes: the action fails with the kernel's own words, and no class is left behind."""
    for name in ("a", "b", "c"):
        (host / "sys/fs/resctrl" / name).mkdir()

    (result,) = act(writer, ("web", "cache", 4.0, "ways"))

    assert (result.result, "Out of CLOSIDs" in result.detail) == ("failed", True)
    assert not (host / "sys/fs/resctrl/askew-lc-web").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("L3:0=f7\n", "The mask f7 has non-consecutive 1-bits"),
        ("MB:0=5\n", "MB value 5 out of range [10,100]"),
        ("L3:0=f", "ok"),
    ],
)
def test_the_model_refuses_as_the_kernel_does(host: Path, text: str, said: str) -> None:
    """EINVAL with the reason in last_cmd_status; a line without its end is refused without one."""
    file = os.open(host / "sys/fs/resctrl/schemata", os.O_WRONLY)
    with pytest.raises(OSError, match="Invalid") as error:
        os.write(file, text.encode())
    os.close(file)

    assert (error.value.errno, read(host, "info/last_cmd_status")) == (errno.EINVAL, said + "\n")


def test_the_agent_knows_how_many_ways_there_are(host: Path) -> None:
    """What the loop divides is read from the mount."""
    assert read_extents(HostPaths(str(host))).cache_ways == 12
