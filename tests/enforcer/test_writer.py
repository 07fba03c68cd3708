"""The writer: leases, refusals, undo, other writers, originals."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from enforcer.errors import JournalError, StaleGenerationError, UnknownContainerError
from enforcer.journal import Journal
from enforcer.writer import Writer
from mesh.actions import Action, ActionSet
from mesh.topology import ContainerName
from tests.fakes.clock import FakeClock
from tests.fakes.fake_host import ID, POD, Directory, Killed, host_of, v1_host, v2_group
from tests.fakes.node import Node, outcomes

CGROUP = "/sys/fs/cgroup"
POD_GROUP = f"{CGROUP}/kubepods/burstable/pod{POD}"
WEB_CPU = f"{CGROUP}/web/cpu.max"


CPU = ("web", "cpu", 0.5, "cores")


def test_an_action_is_written_and_says_what_it_wrote() -> None:
    """The path, what stood there, and exactly what was written."""
    node = Node()
    (result,) = node.apply(CPU)

    assert result.result == "applied"
    assert [(write.path, write.before, write.after) for write in result.writes] == [
        (WEB_CPU, "max 100000", "50000 100000")
    ]
    assert node.value(WEB_CPU) == "50000 100000"


def test_the_same_again_is_unchanged_and_renews_the_lease() -> None:
    """No second write; the end moves."""
    node = Node()
    node.apply(CPU)
    written = len(node.kernel.written)
    node.now_s = 50.0
    assert outcomes(node.apply(CPU)) == ["unchanged"]
    node.now_s = 100.0
    node.writer.expire()

    assert len(node.kernel.written) == written
    assert node.value(WEB_CPU) == "50000 100000"


def test_a_lease_that_runs_out_gives_the_original_back() -> None:
    """A dead controller leaves nobody throttled."""
    node = Node()
    node.apply(CPU)
    node.now_s = 60.0
    node.writer.expire()

    assert node.kernel.snapshot() == node.before
    assert node.writer.state.leases == {}


def test_an_older_generation_is_refused_before_any_write() -> None:
    """Equal is a renewal; older is a message that was overtaken."""
    node = Node()
    node.apply(CPU, generation=7)
    with pytest.raises(StaleGenerationError, match="found 6, allowed: 7 or newer"):
        node.apply(("web", "cpu", 4.0, "cores"), generation=6)

    assert node.value(WEB_CPU) == "50000 100000"


def test_an_unknown_container_stops_the_whole_set() -> None:
    """Nothing of it is written, and the message has its path."""
    node = Node()
    with pytest.raises(UnknownContainerError, match=r"actions\[1\]\.container: found 'nobody'"):
        node.apply(CPU, ("nobody", "cpu", 1.0, "cores"))

    assert node.kernel.written == []


@pytest.mark.parametrize("name", ["kubepods", "kubepods/burstable", f"kubepods/burstable/pod{POD}", "system.slice"])
def test_groups_of_the_system_are_refused_with_a_reason(name: str) -> None:
    """Found, but nobody's container; the rest of the set goes on."""
    node = Node()
    refused, applied = node.apply((name, "cpu", 1.0, "cores"), CPU)

    assert (refused.result, applied.result) == ("refused", "applied")
    assert "group" in refused.detail


def test_what_the_host_cannot_do_is_said() -> None:
    """No silence, and no error for the others."""
    node = Node(v1_host())
    results = node.apply(("web", "cache", 2.0, "ways"), ("web", "network_egress", 1e6, "bits_per_s"), CPU)

    assert outcomes(results) == ["unsupported", "unsupported", "applied"]
    assert results[0].detail == "resctrl is not mounted at /sys/fs/resctrl"


def test_an_error_undoes_the_whole_set_in_reverse() -> None:
    """Half of an exchange is worse than none: the kernel refuses the third write, the first two are taken back."""
    node = Node()

    def refuse_memory(path: str, text: str) -> None:
        if path.endswith("web/memory.high") and text != "max\n":
            raise OSError(errno.EINVAL, "Invalid argument")

    node.kernel.before_write = refuse_memory
    results = node.apply(("batch", "cpu", 0.5, "cores"), CPU, ("web", "memory", 2**26, "bytes"))

    assert outcomes(results) == ["failed", "failed", "failed"]
    assert "web/memory.high: '67108864\\n': EINVAL" in results[0].detail
    assert node.kernel.snapshot() == node.before
    assert node.writer.state.leases == {}
    paths = [path.removeprefix(CGROUP) for path, _ in node.kernel.written]
    assert paths == paths[::-1]


def test_a_value_that_reads_back_differently_is_undone() -> None:
    """What the kernel holds is the truth, not what it took."""
    node = Node()
    honest = node.kernel.read
    node.kernel.read = lambda path: "1 100000\n" if path == WEB_CPU and node.kernel.written else honest(path)  # type: ignore[method-assign]
    (result,) = node.apply(CPU)

    assert result.result == "failed"
    assert "read back another value" in result.detail


def test_the_pod_is_widened_first_and_narrowed_last() -> None:
    """v1 refuses a child above its parent: the pod's own group makes room and goes back behind the child."""
    node = Node(v1_host())
    results = node.apply((ID, "cpu", 4.0, "cores"))
    pod = f"kubepods/burstable/pod{POD}"

    assert outcomes(results) == ["applied"]
    assert [write.path.split("/cpu/")[1] for write in results[0].writes] == [
        f"{pod}/cpu.cfs_quota_us",
        f"{pod}/{ID}/cpu.cfs_quota_us",
    ]
    node.writer.revert()
    assert node.kernel.snapshot() == node.before


def test_qos_groups_are_never_written() -> None:
    """Widening stops at the pod: what is above belongs to the kubelet."""
    node = Node()
    node.apply((ID, "cpu", 8.0, "cores"), (ID, "memory", 2**31, "bytes"))

    assert {path.rpartition("/")[0] for path, _ in node.kernel.written} == {POD_GROUP, f"{POD_GROUP}/{ID}"}


def test_a_foreign_value_is_left_and_reported() -> None:
    """The writer yields: the lease ends, the value stays, the status says so."""
    node = Node()
    node.apply(CPU, ("web", "memory", 2**26, "bytes"))
    node.kernel.set(WEB_CPU, "77000 100000")
    restored = node.writer.expire()

    assert node.value(WEB_CPU) == "77000 100000"
    assert [key[1] for key in node.writer.state.leases] == ["memory"]
    assert restored.conflicts == (f"{WEB_CPU}: wrote 50000 100000, found 77000 100000: left as it is",)
    assert node.writer.state.conflicts == restored.conflicts


def test_a_reset_to_the_original_is_written_again_once() -> None:
    """systemd's daemon-reload resets values; whoever resets them twice wants them so."""
    node = Node()
    node.apply(CPU)
    node.kernel.set(WEB_CPU, "max 100000")
    node.writer.expire()
    assert node.value(WEB_CPU) == "50000 100000"
    node.kernel.set(WEB_CPU, "max 100000")
    node.writer.expire()

    assert node.value(WEB_CPU) == "max 100000"
    assert node.writer.state.leases == {}


def test_a_revert_gives_all_back_but_what_others_changed() -> None:
    """Every original; a foreign value is nobody's to take back."""
    node = Node()
    node.apply(CPU, ("batch", "cpu", 1.0, "cores"), ("web", "cache", 4.0, "ways"))
    node.kernel.set(WEB_CPU, "77000 100000")
    restored = node.writer.revert()
    node.kernel.set(WEB_CPU, "max 100000")

    assert len(restored.conflicts) == 1
    assert node.kernel.snapshot() == node.before


def test_a_value_that_cannot_be_given_back_keeps_no_other_and_is_tried_again() -> None:
    """Busy now; the next look gives it back."""
    node = Node()
    node.apply(CPU, ("batch", "cpu", 1.0, "cores"))

    def busy(path: str, text: str) -> None:
        if path == WEB_CPU:
            raise OSError(errno.EBUSY, "Device or resource busy")

    node.kernel.before_write = busy
    restored = node.writer.revert()
    assert len(restored.failed) == 1
    assert node.value(f"{CGROUP}/batch/cpu.max") == "max 100000"
    node.kernel.before_write = lambda path, text: None
    assert outcomes(node.apply(("batch", "cpu", 1.0, "cores"), generation=2)) == ["applied"]
    node.writer.revert()

    assert node.kernel.snapshot() == node.before


def test_a_vanished_container_is_forgotten() -> None:
    """Its values went with it; another of its name is not ours, and other leases go on."""
    node = Node()
    node.apply(CPU, ("batch", "cpu", 1.0, "cores"))
    del node.kernel._node(CGROUP)["web"]
    restored = node.writer.expire()

    assert (restored.failed, restored.conflicts) == ((), ())
    assert [key[0] for key in node.writer.state.leases] == ["batch"]


def test_a_container_of_the_same_name_is_another() -> None:
    """The group's inode tells: the lease ended with the first one, and the second one is left as it is."""
    node = Node()
    node.apply(CPU)
    node.kernel._node(CGROUP)["web"] = Directory(v2_group(procs="31"))
    node.writer.expire()

    assert node.kernel.snapshot() == node.before
    assert node.writer.state.leases == {}


def test_a_killed_exchange_is_undone_from_the_last_write_to_the_first() -> None:
    """v1 takes the pod's limit back only when the container's is down again: nothing has to be tried twice."""
    node = Node(v1_host())
    steps = iter(range(100))

    def kill_at_commit(step: str) -> None:
        if step == "append" and next(steps) == 1:
            raise Killed

    node.storage.before = kill_at_commit
    with pytest.raises(Killed):
        node.apply((ID, "cpu", 4.0, "cores"))
    node.restart()

    assert [write.path.rpartition("/")[0].endswith(ID) for write in node.restored.writes] == [True, False]
    assert (node.restored.failed, node.kernel.snapshot()) == ((), node.before)


def test_what_a_foreigner_wrote_while_no_writer_lived_stays() -> None:
    """Recovery undoes our own writes alone: the value that is neither before nor after is somebody's."""
    node = Node()
    steps = iter(range(100))

    def kill_at_commit(step: str) -> None:
        if step == "append" and next(steps) == 1:
            raise Killed

    node.storage.before = kill_at_commit
    with pytest.raises(Killed):
        node.apply(CPU, ("batch", "cpu", 1.0, "cores"))
    node.kernel.set(WEB_CPU, "77000 100000")
    node.restart()

    assert node.value(WEB_CPU) == "77000 100000"
    assert node.value(f"{CGROUP}/batch/cpu.max") == "max 100000"
    assert len(node.restored.conflicts) == 1


def test_a_restart_adopts_what_is_in_force() -> None:
    """The lease goes on under a new writer, and its end is the same."""
    node = Node()
    node.apply(CPU)
    node.restart()
    assert node.value(WEB_CPU) == "50000 100000"
    node.now_s = 61.0
    node.restart()

    assert node.kernel.snapshot() == node.before


def test_another_boot_is_another_kernel() -> None:
    """Nothing of the old one is restored; the generation still counts."""
    node = Node()
    node.apply(CPU, generation=5)
    node.kernel.set("/proc/sys/kernel/random/boot_id", "boot-2")
    node.kernel.set(WEB_CPU, "max 100000")
    written = len(node.kernel.written)
    node.restart()

    assert len(node.kernel.written) == written
    assert (node.writer.state.leases, node.writer.state.generation) == ({}, 5)


def test_a_preview_writes_nothing_and_says_all() -> None:
    """The same results as the real thing."""
    node = Node()
    made = tuple(Action(ContainerName(name), *rest) for name, *rest in (CPU, ("web", "cache", 2.0, "ways")))  # type: ignore[arg-type]
    action_set = ActionSet(1, 60.0, made)
    previewed = node.writer.preview(action_set)
    data = node.storage.data

    assert (node.kernel.snapshot(), node.kernel.written, node.storage.data) == (node.before, [], data)
    assert previewed == node.writer.apply(action_set)


def test_a_full_disk_stops_the_writer_before_the_kernel() -> None:
    """No journal, no write."""
    node = Node()

    def full(step: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    node.storage.before = full
    with pytest.raises(JournalError, match="No space left"):
        node.apply(CPU)

    assert node.kernel.written == []


def test_a_commit_that_fails_undoes_the_writes() -> None:
    """What the journal does not know must not be on the host."""
    node = Node()
    calls = iter([False, True])

    def second_fails(step: str) -> None:
        if next(calls, True):
            raise OSError(errno.EIO, "Input/output error")

    node.storage.before = second_fails
    with pytest.raises(JournalError):
        node.apply(CPU)

    assert node.kernel.snapshot() == node.before


def test_two_names_for_one_group_do_not_fight() -> None:
    """The second who asks another value of the same cell is refused, with the name of the first."""
    node = Node()
    (_,) = node.apply((ID, "cpu", 1.0, "cores"))
    (result,) = node.apply((ID[:12], "cpu", 2.0, "cores"))

    assert result.result == "refused"
    assert ID in result.detail


def test_status_survives_without_a_lock() -> None:
    """A look loads what the writer left and changes nothing."""
    node = Node()
    node.apply(CPU)
    data, written = node.storage.data, len(node.kernel.written)
    looking = Writer(host_of(node.kernel), Journal(node.storage), clock=FakeClock())
    looking.look()

    assert replace(looking.state) == node.writer.state
    assert (node.storage.data, len(node.kernel.written)) == (data, written)
