"""The exhaustive split: dynamic programming finds what trying everything finds."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from allocators.partitioning.best_split import best_split

ROWS = st.lists(st.lists(st.one_of(st.none(), st.integers(1, 6)), min_size=5, max_size=5), min_size=1, max_size=4)


def tried(needs: list[list[int | None]], first: int, second: int) -> int | None:
    """Return the fewest of the first resource over all splits of the second, None where none is enough."""
    sums = []
    for ways in product(range(1, 6), repeat=len(needs)):
        parts = [row[way - 1] for row, way in zip(needs, ways, strict=True)]
        if sum(ways) <= second and all(part is not None for part in parts):
            sums.append(sum(part or 0 for part in parts))
    return min((total for total in sums if total <= first), default=None)


@given(needs=ROWS, first=st.integers(1, 20), second=st.integers(1, 15))
def test_it_finds_what_trying_all_splits_finds(needs: list[list[int | None]], first: int, second: int) -> None:
    """A split exists exactly if one of all splits is enough, and none needs fewer of the first resource."""
    found = best_split(needs, first=first, second=second)

    assert (None if found is None else sum(pair[0] for pair in found)) == tried(needs, first, second)


@given(needs=ROWS, first=st.integers(1, 20), second=st.integers(1, 15))
def test_what_it_hands_out_is_enough_and_there(needs: list[list[int | None]], first: int, second: int) -> None:
    """Each tenant gets what its row asks for with so much of the second resource, within what there is."""
    found = best_split(needs, first=first, second=second)
    if found is not None:
        assert all(needs[at][ways - 1] == cores for at, (cores, ways) in enumerate(found))
        assert sum(ways for _, ways in found) <= second
