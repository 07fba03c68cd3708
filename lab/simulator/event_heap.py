"""The event queue: a binary heap in arrays, earliest first, equal times in the order of their pushes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lab.simulator.compiled import compiled


class Heap(NamedTuple):
    """Times (s), and per event: kind, subject (a call or a server), tag (tells a stale event), and its serial number.

    ``size[0]`` events are in the heap; ``size[1]`` were ever pushed.
    """

    at_s: NDArray[np.float64]
    event: NDArray[np.int64]
    size: NDArray[np.int64]


def empty_heap(capacity: int) -> Heap:
    """Return a heap with room for ``capacity`` events."""
    return Heap(np.zeros(capacity), np.zeros((capacity, 4), dtype=np.int64), np.zeros(2, dtype=np.int64))


def grown(heap: Heap) -> Heap:
    """Return the same heap with twice the room."""
    return Heap(
        np.concatenate([heap.at_s, np.zeros_like(heap.at_s)]),
        np.concatenate([heap.event, np.zeros_like(heap.event)]),
        heap.size,
    )


@compiled
def push(heap: Heap, at_s: float, kind: int, subject: int, tag: int) -> None:
    """Add an event; O(log n). The caller has made room."""
    hole = heap.size[0]
    serial = heap.size[1]
    heap.size[0] += 1
    heap.size[1] += 1
    while hole > 0:
        above = (hole - 1) // 2
        if heap.at_s[above] <= at_s:
            break
        heap.at_s[hole] = heap.at_s[above]
        heap.event[hole] = heap.event[above]
        hole = above
    heap.at_s[hole] = at_s
    heap.event[hole, 0] = kind
    heap.event[hole, 1] = subject
    heap.event[hole, 2] = tag
    heap.event[hole, 3] = serial


@compiled
def pop(heap: Heap) -> tuple[float, int, int, int]:
    """Remove the earliest event and return (time, kind, subject, tag); O(log n). The heap must not be empty."""
    at_s = heap.at_s[0]
    kind, subject, tag = heap.event[0, 0], heap.event[0, 1], heap.event[0, 2]
    heap.size[0] -= 1
    last = heap.size[0]
    moved_at, moved_serial = heap.at_s[last], heap.event[last, 3]
    hole = 0
    while True:
        child = 2 * hole + 1
        if child >= last:
            break
        right = child + 1
        if right < last and _before(heap, right, heap.at_s[child], heap.event[child, 3]):
            child = right
        if not _before(heap, child, moved_at, moved_serial):
            break
        heap.at_s[hole] = heap.at_s[child]
        heap.event[hole] = heap.event[child]
        hole = child
    heap.at_s[hole] = moved_at
    heap.event[hole] = heap.event[last]
    return at_s, kind, subject, tag


@compiled
def _before(heap: Heap, slot: int, at_s: float, serial: int) -> bool:
    if heap.at_s[slot] != at_s:
        return bool(heap.at_s[slot] < at_s)
    return bool(heap.event[slot, 3] < serial)
