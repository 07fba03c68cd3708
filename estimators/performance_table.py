"""The performance table φ (Imbres, ASPLOS 2025): latency of a service by interference and load, learnt while it runs.

The paper's two keys: interference (CPU, memory bandwidth, network bandwidth), each in 4 equal buckets over 0..80 %, and
load per container, 4 equal buckets from 0 to the load at which a container alone uses 50 % of its CPU; 256 cells. Its
equation (4) as printed lacks the first term ``φ(I, w_m)`` and would not interpolate; here it is added. What the paper
leaves open is settled so: a cell stands at the mean load of its samples; cells are averaged with gain 0.3, or more
where new samples outweigh what is left of the old; old cells fade; a reading never falls with load.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from estimators.errors import EstimatorError

BUCKETS = 4
MOST_INTERFERENCE = 0.8
LOAD_CPU = 0.5  # of the container's CPU: where the load axis ends
GAIN = 0.3
FORGOTTEN = 1.0  # samples: a cell that counts for less is gone

Place = tuple[int, int, int]  # buckets of CPU, memory bandwidth, network bandwidth
CellKey = tuple[int, int, int, int]  # the same and the bucket of load


@dataclass(frozen=True, slots=True)
class Interference:
    """Average utilisation of hosts, 0..1 each. What a host cannot measure is 0, always: it then tells nothing apart."""

    cpu: float = 0.0
    memory_bandwidth: float = 0.0
    network_bandwidth: float = 0.0


@dataclass(frozen=True, slots=True)
class HistoryPoint:
    """One figure to learn from: ``count`` requests at this load and interference took so long."""

    time_s: float
    interference: Interference
    load_per_s: float
    tail_ms: float
    mean_ms: float
    count: float


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell learnt; ``count`` is the samples it stood for at ``time_s``, halved every half-life since."""

    load_per_s: float
    tail_ms: float
    mean_ms: float
    count: float
    time_s: float


@dataclass(frozen=True, slots=True)
class PerformanceTable:
    """φ of one service. ``full_load_per_s`` is w_max; ``percentile`` is what ``tail_ms`` means."""

    full_load_per_s: float
    percentile: float = 95.0
    half_life_s: float = 600.0
    cells: Mapping[CellKey, Cell] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (0.0 < self.full_load_per_s < math.inf and 0.0 < self.half_life_s < math.inf):
            found = f"{self.full_load_per_s} requests/s, {self.half_life_s} s"
            raise EstimatorError(f"performance table: found {found}, allowed: finite numbers above 0")


@dataclass(frozen=True, slots=True)
class Reading:
    """What the table says; ``distance`` is to the interference asked for, in buckets; age that of the oldest cell."""

    tail_ms: float
    mean_ms: float
    how: Literal["stored", "interpolated", "extrapolated"]
    distance: float
    count: float
    age_s: float


def full_load(load_per_s: float, own_cpu: float) -> float | None:
    """Return w_max: the load at which a container uses 50 % of its CPU, from what it uses (0..1) at some load.

    >>> full_load(20.0, 0.25)
    40.0
    """
    if not (load_per_s > 0.0 and own_cpu > 0.0):
        return None
    return load_per_s * LOAD_CPU / own_cpu


def learn(table: PerformanceTable, points: Iterable[HistoryPoint]) -> PerformanceTable:
    """Return the table with points learnt in order of time, those of a tick or a whole history. O(points + cells).

    Points that are not finite, negative, or without samples are left out; one that is older than its cell adds to it
    without setting its clock back.

    Examples
    --------
    >>> table = learn(PerformanceTable(40.0), [HistoryPoint(0.0, Interference(), 5.0, 12.0, 8.0, 100.0)])
    >>> list(table.cells)
    [(0, 0, 0, 0)]
    """
    cells = dict(table.cells)
    for point in sorted((point for point in points if _usable(point)), key=lambda point: point.time_s):
        key = (*place_of(point.interference), _bucket(point.load_per_s, table.full_load_per_s))
        cells[key] = _learnt(cells.get(key), point, half_life_s=table.half_life_s)
    newest_s = max((cell.time_s for cell in cells.values()), default=0.0)
    kept = {key: cell for key, cell in cells.items() if _left(table, cell, newest_s) >= FORGOTTEN}
    return replace(table, cells=kept)


def with_full_load(table: PerformanceTable, full_load_per_s: float) -> PerformanceTable:
    """Return the table with another w_max: cells move to the bucket of their load; those that meet are averaged."""
    moved = PerformanceTable(full_load_per_s, table.percentile, table.half_life_s)
    cells: dict[CellKey, Cell] = {}
    for key, cell in sorted(table.cells.items(), key=lambda item: item[1].time_s):
        place = (key[0], key[1], key[2])
        point = HistoryPoint(cell.time_s, Interference(), cell.load_per_s, cell.tail_ms, cell.mean_ms, cell.count)
        new = (*place, _bucket(cell.load_per_s, full_load_per_s))
        cells[new] = _learnt(cells.get(new), point, half_life_s=table.half_life_s)
    return replace(moved, cells=cells)


def read(table: PerformanceTable, interference: Interference, load_per_s: float, *, now_s: float) -> Reading | None:
    """Return φ(I, w) for one container: its own host's interference and its own load. None where nothing is known.

    The nearest interference that has cells, by Euclidean distance in buckets (of equals the one with more samples);
    there, linear between the two stored loads around ``load_per_s``, beyond the last on the last slope, below the first
    level (a shorter latency than any seen is not promised). Stored values that fall with load are pooled first
    (isotonic regression weighted by samples). O(cells).

    Examples
    --------
    >>> points = [HistoryPoint(0.0, Interference(), load, 2.0 * load, load, 100.0) for load in (5.0, 15.0)]
    >>> table = learn(PerformanceTable(40.0), points)
    >>> [read(table, Interference(), load, now_s=0.0).tail_ms for load in (5.0, 10.0, 20.0)]
    [10.0, 20.0, 40.0]
    """
    nearest, cells = _nearest(table, interference, now_s=now_s)
    if not cells:
        return None
    distance = math.dist(nearest, place_of(interference))
    return _along_load(cells, load_per_s, distance=distance, now_s=now_s)


def cells_near(table: PerformanceTable, interference: Interference, *, now_s: float) -> Sequence[tuple[Cell, float]]:
    """Return the cells of the nearest interference with what is left of their samples; none where nothing is known."""
    return _nearest(table, interference, now_s=now_s)[1]


def _nearest(
    table: PerformanceTable, interference: Interference, *, now_s: float
) -> tuple[Place, list[tuple[Cell, float]]]:
    asked = place_of(interference)
    alive: dict[Place, list[tuple[Cell, float]]] = {}
    for key, cell in table.cells.items():
        left = _left(table, cell, now_s)
        if left >= FORGOTTEN:
            alive.setdefault((key[0], key[1], key[2]), []).append((cell, left))
    if not alive:
        return asked, []
    nearest = min(alive, key=lambda place: (math.dist(place, asked), -sum(left for _, left in alive[place]), place))
    return nearest, alive[nearest]


def read_service(
    table: PerformanceTable,
    interferences: Sequence[Interference],
    service_load_per_s: float,
    *,
    now_s: float,
    containers: int | None = None,
) -> Reading | None:
    """Return φ for a whole service: the mean interference of its containers' hosts, equal load on each container.

    ``containers`` is how many there would be, by default as many as there are interferences (scaling asks for others).
    """
    size = len(interferences) if containers is None else containers
    if not interferences or size < 1:
        return None
    mean = Interference(
        cpu=math.fsum(one.cpu for one in interferences) / len(interferences),
        memory_bandwidth=math.fsum(one.memory_bandwidth for one in interferences) / len(interferences),
        network_bandwidth=math.fsum(one.network_bandwidth for one in interferences) / len(interferences),
    )
    return read(table, mean, service_load_per_s / size, now_s=now_s)


def place_of(interference: Interference) -> Place:
    """Return the buckets of an interference.

    >>> place_of(Interference(cpu=0.19, memory_bandwidth=0.2, network_bandwidth=0.95))
    (0, 1, 3)
    """
    return (
        _bucket(interference.cpu, MOST_INTERFERENCE),
        _bucket(interference.memory_bandwidth, MOST_INTERFERENCE),
        _bucket(interference.network_bandwidth, MOST_INTERFERENCE),
    )


def _bucket(value: float, most: float) -> int:
    return min(BUCKETS - 1, max(0, int(value / most * BUCKETS + 1e-9)))  # 0.2 of 0.8 is bucket 1, whatever its last bit


def _usable(point: HistoryPoint) -> bool:
    kind = point.interference
    numbers = (point.load_per_s, point.tail_ms, point.mean_ms, kind.cpu, kind.memory_bandwidth, kind.network_bandwidth)
    return point.count > 0 and math.isfinite(point.time_s + point.count) and all(0 <= n < math.inf for n in numbers)


def _left(table: PerformanceTable, cell: Cell, now_s: float) -> float:
    return cell.count * float(0.5 ** (max(0.0, now_s - cell.time_s) / table.half_life_s))


def _learnt(cell: Cell | None, point: HistoryPoint, *, half_life_s: float) -> Cell:
    if cell is None:
        return Cell(point.load_per_s, point.tail_ms, point.mean_ms, point.count, point.time_s)
    left = cell.count * 0.5 ** (max(0.0, point.time_s - cell.time_s) / half_life_s)
    gain = max(GAIN, point.count / (point.count + left))
    return Cell(
        load_per_s=cell.load_per_s + gain * (point.load_per_s - cell.load_per_s),
        tail_ms=cell.tail_ms + gain * (point.tail_ms - cell.tail_ms),
        mean_ms=cell.mean_ms + gain * (point.mean_ms - cell.mean_ms),
        count=left + point.count,
        time_s=max(cell.time_s, point.time_s),
    )


def _along_load(found: Sequence[tuple[Cell, float]], load_per_s: float, *, distance: float, now_s: float) -> Reading:
    stored = sorted(found, key=lambda pair: pair[0].load_per_s)
    loads = [cell.load_per_s for cell, _ in stored]
    weights = [left for _, left in stored]
    tails = _rising([cell.tail_ms for cell, _ in stored], weights)
    means = _rising([cell.mean_ms for cell, _ in stored], weights)
    last = len(loads) - 1
    right = next((place for place, load in enumerate(loads) if load >= load_per_s), last)
    left = max(0, right - 1)
    how: Literal["stored", "interpolated", "extrapolated"] = "interpolated"
    if load_per_s < loads[0] or load_per_s > loads[last]:
        how = "extrapolated"
    if loads[right] == load_per_s or load_per_s < loads[0]:
        left = right
    how = "stored" if loads[right] == load_per_s else how
    used = {left, right}
    return Reading(
        tail_ms=_line(loads, tails, left, right, load_per_s),
        mean_ms=_line(loads, means, left, right, load_per_s),
        how=how,
        distance=distance,
        count=sum(weights[place] for place in used),
        age_s=max(0.0, now_s - min(stored[place][0].time_s for place in used)),
    )


def _line(loads: Sequence[float], values: Sequence[float], left: int, right: int, load_per_s: float) -> float:
    """Return equation (4) with its missing term: ``φ(w_m) + (φ(w_n) − φ(w_m))·(w − w_m)/(w_n − w_m)``."""
    width = loads[right] - loads[left]
    if width <= 0.0:
        return values[right]
    return values[left] + (values[right] - values[left]) * (load_per_s - loads[left]) / width


def _rising(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Return the nearest values that never fall, by pooling neighbours that do (isotonic regression).

    >>> _rising([1.0, 4.0, 2.0], [1.0, 1.0, 1.0])
    [1.0, 3.0, 3.0]
    """
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        pool = (value, weight, 1)
        while pools and pools[-1][0] > pool[0]:
            before = pools.pop()
            total = before[1] + pool[1]
            pool = ((before[0] * before[1] + pool[0] * pool[1]) / total, total, before[2] + pool[2])
        pools.append(pool)
    return [value for value, _, size in pools for _ in range(size)]
