"""Stores and budgets with a limit: past it the oldest goes, and that is counted. No I/O; time comes as an argument."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedMap(Generic[K, V]):
    """The latest value of each key; the key that was written longest ago goes first."""

    def __init__(self) -> None:
        self._values: OrderedDict[K, V] = OrderedDict()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[V]:
        return iter(self._values.values())

    def get(self, key: K) -> V | None:
        return self._values.get(key)

    def put(self, key: K, value: V, *, limit: int) -> None:
        """Keep ``value`` as the newest. O(1)."""
        self._values[key] = value
        self._values.move_to_end(key)
        self.trim(limit)

    def replace(self, key: K, value: V) -> None:
        """Change the value of a key that is there, without making it the newest."""
        self._values[key] = value

    def trim(self, limit: int) -> None:
        while len(self._values) > limit:
            self._values.popitem(last=False)
            self.dropped += 1


class BoundedQueue(Generic[V]):
    """The latest values, to be taken once."""

    def __init__(self) -> None:
        self._values: deque[V] = deque()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._values)

    def put(self, value: V, *, limit: int) -> None:
        self._values.append(value)
        self.trim(limit)

    def take(self) -> Iterable[V]:
        """Return all and keep none."""
        values, self._values = self._values, deque()
        return values

    def trim(self, limit: int) -> None:
        while len(self._values) > limit:
            self._values.popleft()
            self.dropped += 1


class Budget:
    """A token bucket of bytes: ``rate`` a second, ``burst`` at once.

    >>> budget = Budget(rate=10.0, burst=20.0)
    >>> [budget.pay(15.0, now_s=0.0), budget.pay(15.0, now_s=0.5), budget.pay(15.0, now_s=1.0)]
    [True, False, True]
    """

    def __init__(self, *, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._left = burst
        self._at_s: float | None = None

    def pay(self, amount: float, *, now_s: float) -> bool:
        """Return whether ``amount`` is there, and take it if so."""
        if self._at_s is not None:
            self._left = min(self._burst, self._left + max(0.0, now_s - self._at_s) * self._rate)
        self._at_s = now_s
        if amount > self._left:
            return False
        self._left -= amount
        return True

    def wait_s(self, amount: float) -> float:
        """Return after how many seconds ``amount`` (at most the burst) will be there."""
        return max(0.0, min(amount, self._burst) - self._left) / self._rate
