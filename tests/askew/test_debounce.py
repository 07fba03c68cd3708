"""Changes that come together are taken together; endpoints do not wait."""

from __future__ import annotations

import asyncio

import pytest

from askew.debounce import Debounce, due_s
from mesh.mesh_file import parse_mesh_file
from mesh.topology import differs_in_endpoints_only


@pytest.mark.parametrize(
    ("last_s", "due"), [(0.0, 0.1), (0.05, 0.15), (9.0, 9.1), (9.95, 10.0), (20.0, 10.0)]
)  # fmt: skip
def test_a_change_is_due_after_a_quiet_moment_or_at_the_longest(last_s: float, due: float) -> None:
    """100 ms after the last, 10 s after the first, whichever is sooner."""
    assert due_s(first_s=0.0, last_s=last_s, quiet_s=0.1, longest_s=10.0) == pytest.approx(due)


async def test_notes_in_a_row_are_one_wake_up() -> None:
    """Five notes, 10 ms apart: one ``wait`` takes them all, and the next has nothing."""
    debounce = Debounce(quiet_s=0.05, longest_s=5.0)
    waiting = asyncio.create_task(debounce.wait())
    for _ in range(5):
        debounce.note()
        await asyncio.sleep(0.01)
    assert not waiting.done()
    await waiting
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(debounce.wait(), 0.1)


async def test_an_urgent_note_is_due_at_once() -> None:
    """Also when calmer ones came before it, and calmer ones after it change nothing."""
    debounce = Debounce(quiet_s=60.0, longest_s=60.0)
    debounce.note()
    debounce.note(urgent=True)
    debounce.note()
    await asyncio.wait_for(debounce.wait(), 5)


MESH = """{"apiVersion": "askew.mesh/v1", "nodes": [{"name": "n1"}], "services": [
  {"name": "a", "port": 80, "containers": [{"name": "a-0", "node": "n1", "address": "127.0.0.9"}]}]}"""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [('"a-0"', '"a-1"', True), ('"port": 80', '"port": 81', False), ('"n1"}]', '"n1"}, {"name": "n2"}]', False)],
)
def test_what_counts_as_a_change_of_endpoints(old: str, new: str, expected: bool) -> None:
    """Containers that come and go; not ports, policies, nodes or calls."""
    changed = parse_mesh_file(MESH.replace(old, new))
    assert differs_in_endpoints_only(parse_mesh_file(MESH), changed) is expected
