"""The partitioning strategies by name: papers' rules, a released program's, ours, and the baselines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from allocators.errors import ProblemError
from allocators.partitioning.askew import Askew
from allocators.partitioning.heracles import Heracles
from allocators.partitioning.parties import Parties
from allocators.partitioning.parties_released import PartiesReleased
from allocators.partitioning.static import Static, Unmanaged
from allocators.partitioning.step import Partitioner

STRATEGIES: Mapping[str, Partitioner[Any]] = {
    strategy.name: strategy for strategy in (Askew(), Parties(), PartiesReleased(), Heracles(), Static(), Unmanaged())
}


def partitioner(name: str) -> Partitioner[Any]:
    """Return the strategy of a name.

    Raises
    ------
    ProblemError
        for an unknown name; says which there are.

    Examples
    --------
    >>> partitioner("parties").tick_s
    0.5
    """
    if name not in STRATEGIES:
        raise ProblemError(f"strategy: found {name!r}, allowed: {', '.join(STRATEGIES)}")
    return STRATEGIES[name]
