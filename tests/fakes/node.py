"""A node with a writer on it, for tests that say what shall happen one call after another."""

from __future__ import annotations

from enforcer.journal import Journal
from enforcer.results import ActionResult
from enforcer.writer import Writer
from mesh.actions import Action, ActionSet
from mesh.topology import ContainerName
from tests.fakes.fake_host import FakeKernel, host_of, v2_host
from tests.fakes.fake_storage import FakeStorage


class Node:
    """A fake host, a journal in memory, a clock that a test moves, and the writer on them."""

    def __init__(self, kernel: FakeKernel | None = None) -> None:
        self.kernel = kernel or v2_host()
        self.before = self.kernel.snapshot()
        self.storage = FakeStorage()
        self.now_s = 0.0
        self.writer = self.restart()

    def restart(self) -> Writer:
        self.writer = Writer(host_of(self.kernel), Journal(self.storage), clock=lambda: self.now_s)
        self.restored = self.writer.start()
        return self.writer

    def apply(self, *actions: tuple[str, str, float | str, str], generation: int = 1) -> tuple[ActionResult, ...]:
        made = tuple(Action(ContainerName(name), *rest) for name, *rest in actions)  # type: ignore[arg-type]
        return self.writer.apply(ActionSet(generation, 60.0, made))

    def value(self, path: str) -> str:
        return self.kernel.read(path).strip()


def outcomes(results: tuple[ActionResult, ...]) -> list[str]:
    return [result.result for result in results]
