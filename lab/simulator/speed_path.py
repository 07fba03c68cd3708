"""The speed of each container as a step function of time, and the work that gets done under it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lab.simulator.compiled import compiled
from lab.simulator.errors import SimulatorError
from lab.simulator.scenario import Service, Slowdown


class SpeedPaths(NamedTuple):
    """Steps of all containers (numbered through all services) in a row.

    Container ``g`` has speed ``speed[k]`` from ``start_s[k]`` on, for k in ``first[g]`` .. ``first[g + 1] - 1``.
    """

    start_s: NDArray[np.float64]
    speed: NDArray[np.float64]
    first: NDArray[np.int64]


def speed_paths(services: Sequence[Service], slowdowns: Sequence[Slowdown]) -> SpeedPaths:
    """Return the speed of every container: its own, times the factor of every slowdown in force."""
    starts: list[float] = []
    speeds: list[float] = []
    first = [0]
    for index, service in enumerate(services):
        for number, container in enumerate(service.containers):
            mine = [s for s in slowdowns if (s.service, s.container) == (index, number)]
            edges = sorted({0.0, *(s.start_s for s in mine), *(s.end_s for s in mine)})
            for edge in edges:
                factors = [s.factor for s in mine if s.start_s <= edge < s.end_s]
                starts.append(edge)
                speeds.append(container.speed * float(np.prod(factors)))
            first.append(len(starts))
    if min(speeds, default=1.0) <= 0.0:
        raise SimulatorError(f"speed: found {min(speeds)}, allowed: a number above 0 (use a kill for a dead container)")
    return SpeedPaths(np.array(starts), np.array(speeds), np.array(first, dtype=np.int64))


def speeds_at(paths: SpeedPaths, at_s: float) -> NDArray[np.float64]:
    """Return the speed of every container at ``at_s``, shape (containers,).

    >>> from lab.simulator.scenario import Container
    >>> paths = speed_paths([Service("a", (Container(0),))], [Slowdown(0, 0, 1.0, 2.0, 0.5)])
    >>> [float(speeds_at(paths, at)[0]) for at in (0.5, 1.0, 2.0)]
    [1.0, 0.5, 1.0]
    """
    result = np.empty(paths.first.size - 1)
    for container in range(result.size):
        low, high = paths.first[container], paths.first[container + 1]
        result[container] = paths.speed[low + np.searchsorted(paths.start_s[low:high], at_s, side="right") - 1]
    return result


@compiled
def _step_at(paths: SpeedPaths, container: int, at_s: float) -> int:
    low, high = paths.first[container], paths.first[container + 1] - 1
    while low < high:
        middle = (low + high + 1) // 2
        if paths.start_s[middle] <= at_s:
            low = middle
        else:
            high = middle - 1
    return int(low)


@compiled
def finish_time(paths: SpeedPaths, container: int, start_s: float, work_s: float) -> float:
    """Return when ``work_s`` of work that starts at ``start_s`` is done."""
    step = _step_at(paths, container, start_s)
    last = paths.first[container + 1] - 1
    now_s, left_s = start_s, work_s
    while step < last:
        room_s = (paths.start_s[step + 1] - now_s) * paths.speed[step]
        if room_s >= left_s:
            break
        left_s -= room_s
        step += 1
        now_s = paths.start_s[step]
    return float(now_s + left_s / paths.speed[step])


@compiled
def work_between(paths: SpeedPaths, container: int, start_s: float, end_s: float) -> float:
    """Return how much work one undivided worker does from ``start_s`` to ``end_s``."""
    step = _step_at(paths, container, start_s)
    last = paths.first[container + 1] - 1
    now_s, done_s = start_s, 0.0
    while step < last and paths.start_s[step + 1] < end_s:
        done_s += (paths.start_s[step + 1] - now_s) * paths.speed[step]
        step += 1
        now_s = paths.start_s[step]
    return float(done_s + (end_s - now_s) * paths.speed[step])
