"""What an emulated machine of two CPUs measures of cgroup v2: cpuset by the real writer, and PSI as the agent reads it.

Not a test module: the init of ``test_cgroup_v2_qemu.py`` calls ``main(measure_cpus)``. All that the guest imports is
imported here at once, so that the test can see which files it needs.
"""

from __future__ import annotations

import os
import time
import traceback  # noqa: F401  # the init tells what went wrong
from typing import Any

from enforcer.host import real_host  # noqa: F401  # what the writer is made of
from enforcer.host_paths import HostPaths
from enforcer.journal import FileStorage, Journal  # noqa: F401
from enforcer.observe import observe_node
from enforcer.writer import Writer  # noqa: F401
from mesh.actions import ActionSet  # noqa: F401
from tests.real.kernel_guest import act, group_with, started, started_writer

WATCHED_S = 2.0


def measure_cpus() -> dict[str, Any]:
    """Return what the writer said, where two busy processes then ran, how long one waited, and what is left of it."""
    group = group_with("+cpu +cpuset")
    before = (group / "cpuset.cpus").read_text()
    writer = started_writer()
    results = {"list": act(writer, "cpuset", "1", "cpus"), "too many": act(writer, "cpuset", 3.0, "cpus")}
    limited = (group / "cpuset.cpus.effective").read_text().strip()
    idle = waited_part()
    busy = [started(group, "while True: pass") for _ in range(2)]
    while len((group / "cgroup.procs").read_text().split()) < len(busy):
        time.sleep(0.1)  # an emulated machine is slow to start them
    runs_on = sorted({cpu for one in busy for cpu in os.sched_getaffinity(one.pid)})
    crowded = waited_part()
    for one in busy:
        one.kill()
        one.wait()
    writer.revert()
    return {
        "results": results,
        "limited": limited,
        "runs_on": runs_on,
        "waited": {"idle": idle, "crowded": crowded},
        "restored": (group / "cpuset.cpus").read_text() == before,
    }


def waited_part() -> dict[str, float]:
    """Return for which part of a while some task waited, by resource, as an agent's ``Observe`` would tell it."""
    first, began_s = observe_node(HostPaths(), time_s=0.0), time.monotonic()
    time.sleep(WATCHED_S)
    last, seconds = observe_node(HostPaths(), time_s=0.0), time.monotonic() - began_s
    return {name: (last.pressure_s[name] - first.pressure_s[name]) / seconds for name in first.pressure_s}
