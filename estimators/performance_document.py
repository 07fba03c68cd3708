"""A performance table as a value that JSON can hold, and back. What is read is not trusted: a file may be anything."""

from __future__ import annotations

import math

from estimators.performance_table import BUCKETS, Cell, CellKey, PerformanceTable
from mesh.document import Fields, integer, number, one_of, read_list
from mesh.errors import BadInputError

FORM = 1
_ABOVE = number(0.0, 1e300, allowed="a finite number above 0", above=True)
_AMOUNT = number(0.0, 1e300, allowed="a finite number >= 0")
_TIME = number(-1e300, 1e300, allowed="seconds")
_PERCENTILE = number(0.0, 100.0, allowed="a number above 0, at most 100", above=True)
_CELL = ("place", "load_per_s", "tail_ms", "mean_ms", "count", "time_s")
_TABLE = ("form", "full_load_per_s", "percentile", "half_life_s", "cells")


def to_document(table: PerformanceTable) -> dict[str, object]:
    """Return the table as mappings, lists and numbers; cells in order of their place, so that equal tables look equal.

    >>> to_document(PerformanceTable(40.0))
    {'form': 1, 'full_load_per_s': 40.0, 'percentile': 95.0, 'half_life_s': 600.0, 'cells': []}
    """
    cells = [
        {"place": list(key)} | {name: getattr(cell, name) for name in _CELL[1:]}
        for key, cell in sorted(table.cells.items())
    ]
    return {
        "form": FORM,
        "full_load_per_s": table.full_load_per_s,
        "percentile": table.percentile,
        "half_life_s": table.half_life_s,
        "cells": cells,
    }


def from_document(value: object, *, path: str = "", latest_s: float = math.inf) -> PerformanceTable:
    """Return the table of a document.

    ``latest_s`` is now: a cell from the future (another clock) counts as learnt now, or it would never fade.

    Raises
    ------
    BadInputError
        for anything that ``to_document`` would not have written.
    """
    fields = Fields(value, path, allowed=_TABLE)
    fields.take("form", one_of((FORM,)))
    cells = dict(fields.items("cells", _cell))
    late = {key: cell for key, cell in cells.items() if cell.time_s > latest_s}
    for key, cell in late.items():
        cells[key] = Cell(cell.load_per_s, cell.tail_ms, cell.mean_ms, cell.count, latest_s)
    return PerformanceTable(
        full_load_per_s=fields.take("full_load_per_s", _ABOVE),
        percentile=fields.take("percentile", _PERCENTILE),
        half_life_s=fields.take("half_life_s", _ABOVE),
        cells=cells,
    )


def _cell(value: object, path: str) -> tuple[CellKey, Cell]:
    fields = Fields(value, path, allowed=_CELL)
    cell = Cell(
        load_per_s=fields.take("load_per_s", _AMOUNT),
        tail_ms=fields.take("tail_ms", _AMOUNT),
        mean_ms=fields.take("mean_ms", _AMOUNT),
        count=fields.take("count", _ABOVE),
        time_s=fields.take("time_s", _TIME),
    )
    return fields.take("place", _place), cell


def _place(value: object, path: str) -> CellKey:
    buckets = read_list(value, path, integer(0, BUCKETS - 1))
    if len(buckets) != 4:
        raise BadInputError(path, value, "4 buckets: CPU, memory bandwidth, network bandwidth, load")
    return buckets[0], buckets[1], buckets[2], buckets[3]
