"""The event queue gives back what was put in, in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lab.simulator.event_heap import empty_heap, grown, pop, push


@given(times=st.lists(st.integers(0, 20), max_size=60))
def test_events_come_out_by_time_then_by_age(times: list[int]) -> None:
    """Earliest first; of equal times the one that was pushed first."""
    heap = empty_heap(64)
    for number, time in enumerate(times):
        push(heap, float(time), 1, number, 0)

    out = [pop(heap) for _ in times]

    assert [subject for _, _, subject, _ in out] == sorted(
        range(len(times)), key=lambda number: (times[number], number)
    )


def test_growing_keeps_the_events() -> None:
    """A heap that was grown holds the same events and has twice the room."""
    heap = empty_heap(2)
    push(heap, 2.0, 1, 7, 0)
    push(heap, 1.0, 2, 8, 3)

    larger = grown(heap)
    push(larger, 1.5, 1, 9, 0)

    assert [pop(larger)[2] for _ in range(3)] == [8, 9, 7]
