"""Two pooled resources divided so that every tenant has enough of both: exhaustive, by dynamic programming.

The oracle of the evaluation (true needs) and the model-assisted strategy (fitted needs) both ask it.
"""

from __future__ import annotations

from collections.abc import Sequence

Needs = Sequence[int | None]
# By units of the second resource handed out so far: fewest of the first, and how.
Table = dict[int, tuple[int, tuple[tuple[int, int], ...]]]


def best_split(needs: Sequence[Needs], *, first: int, second: int) -> tuple[tuple[int, int], ...] | None:
    """Return (first, second) for each tenant so that each has enough and fewest of the first are used in all.

    The same answer as trying all splits: what is best for the first k tenants with s units of the second depends on
    the others through s alone. Ties go to fewer of the second, then to earlier tenants.

    Parameters
    ----------
    needs:
        For each tenant, ``needs[i][s]`` is the least of the first resource that is enough with ``s + 1`` units of the
        second; None: no amount is enough.
    first, second:
        How much there is.

    Returns
    -------
    tuple | None
        None where no split is enough for all. O(tenants · second²).

    Examples
    --------
    >>> best_split([[4, 2, 2], [3, 3, 1]], first=5, second=4)
    ((2, 2), (3, 1))
    >>> best_split([[4, 4], [3, 3]], first=6, second=4) is None
    True
    """
    table: Table = {0: (0, ())}
    for row in needs:
        table = _with_one_more(table, row, first=first, second=second)
    if not table:
        return None
    return min((spent, used, chosen) for used, (spent, chosen) in table.items())[2]


def _with_one_more(table: Table, row: Needs, *, first: int, second: int) -> Table:
    after: Table = {}
    for used, (spent, chosen) in table.items():
        for more, need in enumerate(row[: second - used], start=1):
            if need is None or spent + need > first:
                continue
            if used + more not in after or spent + need < after[used + more][0]:
                after[used + more] = (spent + need, (*chosen, (need, more)))
    return after
