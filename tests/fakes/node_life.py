"""A node's life: action sets, time, foreigners, containers that end, and a writer that is killed at any step.

What must hold at the end of every life: after a revert each file is as the host or a foreigner left it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from enforcer.journal import Journal
from enforcer.writer import Writer
from mesh.actions import Action, ActionSet
from tests.fakes.fake_host import ID, POD, Directory, FakeKernel, Killed, host_of, v1_host, v2_group, v2_host
from tests.fakes.fake_storage import FakeStorage

OTHER_ID = "cd" * 32
CGROUP = "/sys/fs/cgroup"
POD_GROUP = f"kubepods/burstable/pod{POD}"
CONTAINERS = ("web", "batch", ID)
FOREIGN_VALUES = {
    "cpu.max": ("77000 100000", "88000 50000"),
    "cpuset.cpus": ("7", "6-7"),
    "memory.high": ("73728", "81920"),
    "memory.max": ("1073741824",),
    "cpu.cfs_quota_us": ("77000",),
    "cpu.weight": ("7", "77"),
}


@dataclass(frozen=True)
class Choice:
    """An action without its name: resource, value and unit."""

    resource: str
    value: float | str
    unit: str


CHOICES = (
    *(Choice("cpu", value, "cores") for value in (0.5, 2.0, 4.0, 0.001)),
    *(Choice("cpuset", value, "cpus") for value in (1.0, 3.0, "0-1", "2")),
    *(Choice("memory", value, "bytes") for value in (50_000_000.0, 200_000_000.0)),
    *(Choice("cache", value, "ways") for value in (2.0, 5.0)),
    *(Choice("memory_bandwidth", value, "percent") for value in (35.0, 80.0)),
    *(Choice("disk_read", value, "bytes_per_s") for value in (1e6, 4e6)),
    Choice("disk_write", 2e6, "bytes_per_s"),
    Choice("cpu_frequency", 1500.0, "mhz"),
    Choice("network_egress", 1e7, "bits_per_s"),
)


class NodeLife:
    """One node and its writers, one after another, on one journal."""

    def __init__(self, *, version: int = 2) -> None:
        self.kernel: FakeKernel = (v2_host if version == 2 else v1_host)(before_write=lambda path, text: self._step())
        self.storage = FakeStorage(before=lambda step: self._step())
        self.left: int | None = None  # steps until the writer is killed
        self.kills = 0
        self.meanwhile: Callable[[], None] | None = None  # what a foreigner does while no writer lives
        self.now_s = 1000.0
        self.generation = 0
        self.expected = self.kernel.snapshot()
        self.writer = self._new_writer()
        self.writer.start()

    def apply(
        self, chosen: Sequence[tuple[str, Choice]], *, ttl_s: float, kill_after: int | None, torn: int = 0
    ) -> None:
        self.generation += 1
        unique = {(name, choice.resource): choice for name, choice in chosen}
        actions = tuple(
            Action(name, resource, choice.value, choice.unit)  # type: ignore[arg-type]
            for (name, resource), choice in unique.items()
            if self.kernel.exists(self._group(name)) or self.kernel.exists(f"{CGROUP}/cpu/{name}")
        )
        self._do(lambda writer: writer.apply(ActionSet(self.generation, ttl_s, actions)), kill_after, torn)

    def wait(self, seconds: float, *, kill_after: int | None = None, torn: int = 0) -> None:
        self.now_s += seconds
        self._do(lambda writer: writer.expire(), kill_after, torn)

    def revert(self, *, kill_after: int | None = None, torn: int = 0) -> None:
        self._do(lambda writer: writer.revert(), kill_after, torn)

    def foreign_write(self, name: str, file: str, which: int) -> None:
        """A value that the writer never writes; from now on it is what the file must end as."""
        paths = (f"{self._group(name)}/{file}", f"{CGROUP}/{file.split('.')[0]}/{name}/{file}")
        values = FOREIGN_VALUES[file]
        for path in paths:
            if self.kernel.exists(path):
                self.kernel.set(path, values[which % len(values)])
                self._expect(path, values[which % len(values)])

    def replace_container(self, name: str) -> None:
        """The container ends and one of the same name begins: other inodes, the kernel's defaults."""
        above, _, last = self._group(name).rpartition("/")
        if not self.kernel.exists(above) or not self.kernel.exists(self._group(name)):
            return
        fresh = v2_group(procs={"web": "31", "batch": "41"}.get(name, "11\n12"))
        self.kernel._node(above)[last] = Directory(fresh)
        assert self.kernel.resctrl is not None
        node: Any = self.expected[0]
        for part in filter(None, above.split("/")):
            node = node[part]
        node[last] = dict(fresh)

    def check_between(self) -> None:
        """What the state says the writer holds, the kernel holds; every other file is as the host left it."""
        state = self.writer.state
        asked = {demand.cell for lease in state.leases.values() for demand in lease.demands}
        assert set(state.holdings) <= asked, "a value that no lease asks for was not given back"
        kernel = host_of(self.kernel).kernel
        for cell, holding in state.holdings.items():
            if kernel.identity(cell) == holding.identity and kernel.read(cell) is not None:
                assert kernel.same(cell, holding.written, kernel.read(cell)), f"{cell} is not as the journal says"

    def check_at_end(self) -> None:
        self.left = None
        self._restart()
        self.writer.revert()
        assert self.writer.state.holdings == {}
        assert self.writer.state.leases == {}
        assert self.kernel.snapshot() == self.expected

    def _do(self, work: Callable[[Writer], object], kill_after: int | None, torn: int) -> None:
        self.left = kill_after
        self.storage.torn = lambda length: min(torn, length)
        try:
            work(self.writer)
        except Killed:
            self.kills += 1
            if self.meanwhile is not None:
                self.meanwhile()
            self.left = kill_after if self.kills % 3 == 0 else None  # some die again while they recover
            self._recover()
        self.left = self.meanwhile = None

    def _recover(self) -> None:
        try:
            self._restart()
        except Killed:
            self.kills += 1
            self.left = None
            self._restart()

    def _restart(self) -> None:
        self.writer = self._new_writer()
        self.writer.start()

    def _new_writer(self) -> Writer:
        return Writer(host_of(self.kernel), Journal(self.storage, limit_bytes=20_000), clock=lambda: self.now_s)

    def _step(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed

    def _group(self, name: str) -> str:
        return f"{CGROUP}/{POD_GROUP}/{name}" if name == ID else f"{CGROUP}/{name}"

    def _expect(self, path: str, value: str) -> None:
        node: Any = self.expected[0]
        *above, last = filter(None, path.split("/"))
        for part in above:
            node = node[part]
        node[last] = value
