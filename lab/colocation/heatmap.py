"""PARTIES' Fig. 8: how much NGINX a node carries beside Memcached and Xapian, in cells of a 10 % grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from lab.colocation.utilisation import ORACLE, Judge, Ray, last_step

SERVICES = ("memcached", "nginx", "xapian")
RISING = "nginx"
GRID_STEP = 0.1
SHOWN = tuple(round(GRID_STEP * step, 1) for step in range(1, 9))  # of Memcached and Xapian, as printed
Row = dict[str, object]


class Cell(NamedTuple):
    """Memcached's and Xapian's part of their maximum loads, and the per cent of NGINX' beside them (0: not even 10)."""

    memcached: float
    xapian: float
    nginx: float


def heatmap(strategies: Iterable[str], *, judge: Judge, seed: int, says: Callable[[str], None]) -> list[Row]:
    """Return one row for each strategy and cell, and say how many cells each carries and how far from the oracle."""
    oracle = [_cell(ORACLE, first, second, judge, seed) for first in SHOWN for second in SHOWN]
    rows: list[Row] = []
    for name in strategies:
        found = [_cell(name, cell.memcached, cell.xapian, judge, seed) for cell in oracle]
        carried = [(one.nginx, best.nginx) for one, best in zip(found, oracle, strict=True) if best.nginx]
        gaps = np.array([best - mine for mine, best in carried])
        says(
            f"{name}: {sum(cell.nginx > 0.0 for cell in found)} cells, the oracle {len(carried)}; behind it"
            f" {gaps.mean():.1f}, worst {gaps.max():.0f}, at most 10 in {np.mean(gaps < 10.5):.0%}"
        )
        rows += [{"table": "heatmap", "strategy": name, **cell._asdict()} for cell in found]
    return rows


def _cell(strategy: str, memcached: float, xapian: float, judge: Judge, seed: int) -> Cell:
    foot = (memcached, GRID_STEP, xapian)
    direction = tuple(float(service == RISING) for service in SERVICES)
    at = round(100.0 * memcached + 10.0 * xapian)  # its draws are its own
    line = Ray(SERVICES, foot, direction, 10_000 * seed + 100 * at, GRID_STEP)
    steps, _ = last_step(strategy, line, judge=judge)
    return Cell(memcached, xapian, 10.0 * (steps + 1))
