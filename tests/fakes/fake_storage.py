"""A journal's bytes in memory, with the crashes that a disk can show."""

from __future__ import annotations

from collections.abc import Callable


class FakeStorage:
    """:class:`enforcer.journal.Storage`. ``before`` is called ahead of each step and may end the process.

    A kill in the middle of an append leaves part of the line: ``torn`` says how many of its bytes.
    """

    def __init__(self, *, before: Callable[[str], None] = lambda step: None) -> None:
        self.data = b""
        self.before = before
        self.torn: Callable[[int], int] = lambda length: 0

    def load(self) -> bytes:
        return self.data

    def append(self, data: bytes, *, durable: bool) -> None:
        try:
            self.before("append")
        except BaseException:
            self.data += data[: self.torn(len(data))]
            raise
        self.data += data

    def replace(self, data: bytes) -> None:
        self.before("replace")
        self.data = data
