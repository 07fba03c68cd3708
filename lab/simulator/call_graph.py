"""Call trees: which service calls which, in what order, for one operation of an application.

A call first does its own work in a worker, gives the worker back, then runs its stages one after the other; the calls
of one stage run at the same time. It answers when the last stage is through.

    nginx ── compose ─┬─ stage 0: text, user, media     (parallel)
                      └─ stage 1: post-storage          (when all three have answered)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lab.simulator.errors import SimulatorError

OUTSIDE = -1


@dataclass(frozen=True, slots=True)
class Call:
    """A call to a service (its index) and what that call calls in turn; it is made with ``probability``."""

    service: int
    stages: tuple[tuple[Call, ...], ...] = ()
    work_factor: float = 1.0
    probability: float = 1.0


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of request: its tree and its share of all requests."""

    root: Call
    share: float = 1.0
    name: str = "request"


class Trees(NamedTuple):
    """All operations' trees in arrays; node ``v`` is one call.

    ``pair[v]`` is the link type (caller service, callee service); stages of ``v`` are ``stage_first[v]`` to
    ``stage_first[v + 1]``; children of stage ``t`` are ``children[child_first[t]:child_first[t + 1]]``.
    """

    pair: NDArray[np.int64]
    service: NDArray[np.int64]
    work_factor: NDArray[np.float64]
    probability: NDArray[np.float64]
    stage_first: NDArray[np.int64]
    child_first: NDArray[np.int64]
    children: NDArray[np.int64]
    roots: NDArray[np.int64]
    sizes: NDArray[np.int64]


def flatten(operations: Sequence[Operation]) -> tuple[Trees, tuple[tuple[int, int], ...]]:
    """Return the trees as arrays (nodes of one tree in a row, root first) and the pairs (caller, callee) in them.

    A caller of OUTSIDE is a client. O(nodes).

    >>> trees, pairs = flatten([Operation(Call(0, ((Call(1), Call(1)), (Call(2),))))])
    >>> pairs, trees.sizes.tolist(), trees.children.tolist()
    (((-1, 0), (0, 1), (0, 2)), [4], [1, 2, 3])
    """
    pairs: dict[tuple[int, int], int] = {}
    nodes: list[tuple[Call, int]] = []
    roots = []
    for operation in operations:
        roots.append(len(nodes))
        nodes.extend(_breadth_first(operation.root))
    stage_first, child_first = [0], [0]
    children: list[int] = []
    following = 0
    ends = [*roots[1:], len(nodes)]
    for index, (call, _) in enumerate(nodes):
        if index in roots:
            following = index + 1
        for stage in call.stages:
            children.extend(range(following, following + len(stage)))
            following += len(stage)
            child_first.append(len(children))
        stage_first.append(len(child_first) - 1)
    pair = [pairs.setdefault((caller, call.service), len(pairs)) for call, caller in nodes]
    trees = Trees(
        pair=np.array(pair, dtype=np.int64),
        service=np.array([call.service for call, _ in nodes], dtype=np.int64),
        work_factor=np.array([call.work_factor for call, _ in nodes]),
        probability=np.array([call.probability for call, _ in nodes]),
        stage_first=np.array(stage_first, dtype=np.int64),
        child_first=np.array(child_first, dtype=np.int64),
        children=np.array(children, dtype=np.int64),
        roots=np.array(roots, dtype=np.int64),
        sizes=np.array([end - root for root, end in zip(roots, ends, strict=True)], dtype=np.int64),
    )
    return trees, tuple(pairs)


def _breadth_first(root: Call) -> Iterator[tuple[Call, int]]:
    queue = [(root, OUTSIDE)]
    while queue:
        call, caller = queue.pop(0)
        if any(not stage for stage in call.stages):
            raise SimulatorError(f"service {call.service}: found a stage without calls, allowed: one call or more")
        yield call, caller
        queue.extend((child, call.service) for stage in call.stages for child in stage)


def calls_per_request(operations: Sequence[Operation], services: int) -> NDArray[np.float64]:
    """Return how many calls (in units of ``work_factor``) a mean request makes to each service, shape (services,)."""
    total = sum(operation.share for operation in operations)
    counts = np.zeros(services)
    for operation in operations:
        _count(operation.root, operation.share / total, counts)
    return counts


def _count(call: Call, times: float, counts: NDArray[np.float64]) -> None:
    counts[call.service] += times * call.probability * call.work_factor
    for stage in call.stages:
        for child in stage:
            _count(child, times * call.probability, counts)
