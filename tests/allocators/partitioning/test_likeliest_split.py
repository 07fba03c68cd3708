"""The split with the largest sum of worths: the same as trying all of them."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from allocators.partitioning.likeliest_split import LEAST_GAIN, likeliest_split

FIRST, SECOND = 4, 5


def best_of_all(worths: list[np.ndarray]) -> float:
    """Return the largest sum over every split."""
    parts = list(itertools.product(range(1, FIRST + 1), range(1, SECOND + 1)))
    sums = [
        sum(float(worth[c - 1, w - 1]) for worth, (c, w) in zip(worths, split, strict=True))
        for split in itertools.product(parts, repeat=len(worths))
        if sum(c for c, _ in split) <= FIRST and sum(w for _, w in split) <= SECOND
    ]
    return max(sums)


@given(st.integers(1, 3), st.integers(0, 2**31))
def test_no_other_split_is_worth_more(tenants: int, seed: int) -> None:
    """Dynamic programming finds what enumeration finds, up to what a unit must gain."""
    random = np.random.default_rng(seed)
    worths = [random.normal(size=(FIRST, SECOND)) for _ in range(tenants)]
    bounds = {"least": [(1, 1)] * tenants, "most": [(FIRST, SECOND)] * tenants}
    split = likeliest_split(worths, first=FIRST, second=SECOND, **bounds)

    assert split is not None
    assert sum(c for c, _ in split) <= FIRST
    assert sum(w for _, w in split) <= SECOND
    found = sum(float(worth[c - 1, w - 1]) for worth, (c, w) in zip(worths, split, strict=True))
    assert found >= best_of_all(worths) - tenants * LEAST_GAIN * (FIRST + SECOND)


def test_bounds_are_kept() -> None:
    """A tenant gets its least part even if it is worth nothing, and never more than its most."""
    worth = np.arange(20.0).reshape(4, 5)
    split = likeliest_split([worth, worth], least=[(2, 2), (1, 1)], most=[(4, 5), (1, 2)], first=4, second=5)

    assert split is not None
    assert split[0][0] >= 2
    assert split[1][0] == 1
    assert split[1][1] <= 2


def test_too_little_for_the_least_parts_is_no_split() -> None:
    """Three tenants and two units."""
    worth = np.zeros((2, 3))

    assert likeliest_split([worth] * 3, least=[(1, 1)] * 3, most=[(2, 3)] * 3, first=2, second=3) is None
