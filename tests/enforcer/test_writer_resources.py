"""What each resource means on a node: CPUs, cache ways, memory bandwidth, frequency, memory."""

from __future__ import annotations

import pytest

from tests.fakes.fake_host import ID, Killed, v1_host
from tests.fakes.node import Node, outcomes

CGROUP = "/sys/fs/cgroup"


def test_counted_cpus_are_apart_and_stay_put() -> None:
    """Two containers never share a CPU, and who grows keeps what it has."""
    node = Node()
    node.apply(("web", "cpuset", 2.0, "cpus"), ("batch", "cpuset", 3.0, "cpus"))
    assert (node.value(f"{CGROUP}/web/cpuset.cpus"), node.value(f"{CGROUP}/batch/cpuset.cpus")) == ("0-1", "2-4")
    node.apply(("web", "cpuset", 4.0, "cpus"))

    assert node.value(f"{CGROUP}/web/cpuset.cpus") == "0-1,5-6"
    assert node.value(f"{CGROUP}/batch/cpuset.cpus") == "2-4"


def test_more_cpus_than_there_are_is_refused() -> None:
    """The second one gets the reason, the first one its CPUs."""
    node = Node()
    results = node.apply(("web", "cpuset", 5.0, "cpus"), ("batch", "cpuset", 4.0, "cpus"))

    assert outcomes(results) == ["applied", "refused"]
    assert results[1].detail == "9 CPUs in all: 8 are to be had (0-7)"


def test_ways_move_between_neighbours() -> None:
    """Contiguous, disjoint, and as the kernel takes them: all masks of an exchange in one set."""
    node = Node()
    node.apply(("web", "cache", 6.0, "ways"), ("batch", "cache", 6.0, "ways"))
    results = node.apply(("web", "cache", 5.0, "ways"), ("batch", "cache", 7.0, "ways"))
    resctrl = node.kernel.resctrl
    assert resctrl is not None

    assert outcomes(results) == ["applied", "applied"]
    assert resctrl.groups["askew-lc-batch"].masks[0] == 0b1111111
    assert resctrl.groups["askew-lc-web"].masks[1] == 0b11111 << 7
    back = node.apply(("web", "cache", 6.0, "ways"), ("batch", "cache", 6.0, "ways"))  # who grows stands first
    assert outcomes(back) == ["applied", "applied"]
    assert resctrl.groups["askew-lc-web"].masks[1] == 0b111111 << 6
    assert outcomes(node.apply(("web", "cache", 7.0, "ways"))) == ["refused"]


def test_a_class_ends_with_its_last_lease() -> None:
    """Threads go home, the class goes away, foreign classes stay."""
    node = Node()
    resctrl = node.kernel.resctrl
    assert resctrl is not None
    resctrl.make("pqos")
    node.apply(("web", "cache", 6.0, "ways"), ("web", "memory_bandwidth", 50.0, "percent"))
    assert resctrl.threads["31"] == "askew-lc-web"
    node.writer.revert()

    assert sorted(resctrl.groups) == ["", "pqos"]
    assert set(resctrl.threads.values()) == {""}


def test_more_classes_than_the_cpu_has_fail_with_the_kernels_words() -> None:
    """ENOSPC is not a full disk: ``last_cmd_status`` says so, and the set is undone."""
    node = Node()
    resctrl = node.kernel.resctrl
    assert resctrl is not None
    resctrl.closids = 2
    results = node.apply(("web", "cache", 2.0, "ways"), ("batch", "cache", 2.0, "ways"))

    assert outcomes(results) == ["failed", "failed"]
    assert "Out of CLOSIDs" in results[0].detail
    assert node.kernel.snapshot() == node.before


def test_threads_in_a_foreign_class_are_left_there() -> None:
    """Another manager has put them there."""
    node = Node()
    resctrl = node.kernel.resctrl
    assert resctrl is not None
    resctrl.make("pqos")
    resctrl.threads["31"] = "pqos"
    (result,) = node.apply(("web", "cache", 2.0, "ways"))

    assert (result.result, result.detail) == ("refused", "its threads are in resctrl's group pqos, which is not ours")


def test_a_class_of_ours_that_no_journal_knows_is_removed() -> None:
    """The state directory was lost: what carries our name is ours to clear."""
    node = Node()
    node.apply(("web", "cache", 2.0, "ways"))
    node.storage.data = b""
    node.restart()

    assert node.kernel.snapshot() == node.before
    assert [write.path for write in node.restored.writes] == ["/sys/fs/resctrl/askew-lc-web"]


def test_threads_that_were_half_moved_go_home() -> None:
    """A writer that dies between two threads of one container leaves no puzzle: what is in either place is ours."""
    node = Node()

    def kill_at_the_second(path: str, text: str) -> None:
        if text == "12\n":
            raise Killed

    node.kernel.before_write = kill_at_the_second
    with pytest.raises(Killed):
        node.apply((ID, "cache", 2.0, "ways"))
    node.kernel.before_write = lambda path, text: None
    node.restart()

    assert (node.restored.conflicts, node.restored.failed) == ((), ())
    assert node.kernel.snapshot() == node.before


def test_a_frequency_needs_cpus_of_ones_own() -> None:
    """A policy spans CPUs: who has only half of it would slow the other half's owner."""
    node = Node()
    mhz = ("web", "cpu_frequency", 1500.0, "mhz")
    assert outcomes(node.apply(mhz)) == ["refused"]
    node.apply(("web", "cpuset", "2", "cpus"))
    assert outcomes(node.apply(mhz)) == ["refused"]
    node.apply(("web", "cpuset", "2-3", "cpus"))
    assert outcomes(node.apply(mhz)) == ["applied"]
    assert node.value("/sys/devices/system/cpu/cpufreq/policy2/scaling_max_freq") == "1500000"
    node.writer.revert()

    assert node.kernel.snapshot() == node.before


def test_memory_is_slowed_never_killed() -> None:
    """memory.high takes the value; memory.max is only ever raised."""
    node = Node()
    node.apply(("web", "memory", 2**26 + 5, "bytes"))

    assert node.value(f"{CGROUP}/web/memory.high") == str(2**26)
    assert node.value(f"{CGROUP}/web/memory.max") == "max"


def test_v1_memory_below_what_is_used_is_refused() -> None:
    """v1 has a hard limit only, and cannot let go of what is in use."""
    (result,) = Node(v1_host()).apply(("web", "memory", 8192, "bytes"))

    assert result.result == "refused"
    assert "1048576 are in use" in result.detail
