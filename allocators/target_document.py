"""Targets in force as a value that JSON can hold, and back: so that a restart is no leap back to equal shares."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from allocators.target_decision import DEFAULTS
from allocators.target_view import TargetMemory, fresh_memory
from mesh.document import Fields, number
from mesh.errors import BadInputError

_TIME = number(-1e300, 1e300, allowed="seconds")
_PART = number(0.0, 1.0, allowed="a number above 0, at most 1", above=True)


def targets_document(memory: TargetMemory) -> dict[str, object]:
    """Return the targets by endpoint, and when the last sample was that they rest on (null: on none).

    >>> targets_document(fresh_memory(("a",), np.ones(1), DEFAULTS))
    {'newest_s': None, 'endpoints': [{'name': 'a', 'part': 1.0}]}
    """
    pairs = zip(memory.endpoints, memory.targets.tolist(), strict=True)
    return {"newest_s": memory.newest_s, "endpoints": [{"name": name, "part": part} for name, part in pairs]}


def targets_from_document(value: object, *, path: str = "", latest_s: float = math.inf) -> TargetMemory | None:
    """Return a memory that holds these targets and knows nothing else; None for a service without endpoints.

    What was learnt of speeds is not kept: it is a matter of two ticks. A time after ``latest_s`` counts as that.

    Raises
    ------
    BadInputError
        for anything that ``targets_document`` would not have written.
    """
    fields = Fields(value, path, allowed=("newest_s", "endpoints"))
    newest_s = fields.take("newest_s", lambda found, at: None if found is None else _TIME(found, at))
    pairs = fields.items("endpoints", _endpoint)
    names = tuple(name for name, _ in pairs)
    if len(set(names)) != len(names):
        raise BadInputError(fields.at("endpoints"), "a name twice", "each endpoint once")
    if not names:
        return None
    parts = np.array([part for _, part in pairs])
    memory = fresh_memory(names, parts / parts.sum(), DEFAULTS)
    return memory if newest_s is None else _as_of(memory, min(newest_s, latest_s))


def _as_of(memory: TargetMemory, newest_s: float) -> TargetMemory:
    """Return the memory with its age: everyone was heard then, so that who stays silent relaxes in its own time."""
    return replace(memory, newest_s=newest_s, heard_s=np.full(len(memory.endpoints), newest_s))


def _endpoint(value: object, path: str) -> tuple[str, float]:
    fields = Fields(value, path, allowed=("name", "part"))
    return fields.take("name", _name), fields.take("part", _PART)


def _name(value: object, path: str) -> str:
    if not isinstance(value, str) or not value:
        raise BadInputError(path, value, "a name")
    return value
