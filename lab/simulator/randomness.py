"""A small random generator that lives in one uint64 of a client (splitmix64, Steele et al., OOPSLA 2014)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lab.simulator.compiled import compiled

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_30, _27, _31, _11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


@compiled
def uniform(state: NDArray[np.uint64]) -> float:
    """Return the next number in [0, 1) and advance ``state[0]``."""
    state[0] += _GAMMA
    z = state[0]
    z = (z ^ (z >> _30)) * _MIX_1
    z = (z ^ (z >> _27)) * _MIX_2
    z = z ^ (z >> _31)
    return float(z >> _11) * (1.0 / 9007199254740992.0)


@compiled
def below(state: NDArray[np.uint64], count: int) -> int:
    """Return the next integer in 0..count-1."""
    return int(uniform(state) * count)
