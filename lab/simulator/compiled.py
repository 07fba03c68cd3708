"""Compile the hot functions with numba, and keep what was compiled only as long as no source file here changed.

numba's own cache looks at the file of the function alone, not at what it calls: a change in a callee would go
unnoticed. So the cache directory carries a digest of all sources of this package.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba import types

F = TypeVar("F", bound=Callable[..., Any])
_REALS = types.Array(types.float64, 1, "C")
_INTEGERS = types.Array(types.int64, 1, "C")
_STATE = types.Array(types.uint64, 1, "C")
_TABLE = types.Array(types.float64, 2, "C")
PICK = types.int64(types.float64, _STATE, _INTEGERS, _INTEGERS, _REALS, _REALS, _TABLE)
DONE = types.void(
    types.float64, types.int64, types.float64, types.int64, types.float64, types.float64, _INTEGERS, _REALS
)


def _cache_directory() -> Path:
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for source in sorted(here.rglob("*.py")):
        digest.update(source.read_bytes())
    name = f"numba-{digest.hexdigest()[:16]}"
    home = here / "__pycache__"
    if not os.access(home if home.exists() else here, os.W_OK):
        return Path(tempfile.gettempdir()) / f"askew-simulator-{os.getuid()}" / name
    for old in home.glob("numba-*"):
        if old.name != name:
            shutil.rmtree(old, ignore_errors=True)
    return home / name


_DIRECTORY = _cache_directory()


@contextmanager
def _cached_here() -> Iterator[None]:
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(_DIRECTORY)
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before


def compiled(function: F) -> F:
    """Return ``function`` compiled on its first call; it must use only what numba knows."""
    with _cached_here():
        return cast(F, numba.njit(cache=True)(function))


def compiled_pick(function: F) -> F:
    """Compile a data-plane choice: ``(now_s, rng, links, active, weights, memory, board) -> endpoint``.

    All arrays are one client's own: ``links`` the endpoints that it may use, ``active`` its requests in flight,
    ``weights`` what was pushed to it, ``memory`` what its policy keeps (``memory[0]`` is 1 after a push). ``board``
    shows the servers' insides to policies whose sight allows it, and NaN to all others.
    """
    with _cached_here():
        return cast(F, numba.cfunc(PICK, cache=True)(function))


def compiled_done(function: F) -> F:
    """Compile what a client learns from a response.

    ``(now_s, endpoint, latency_s, failed, reported_utilisation, reported_rate, active, memory)``; the two reported
    values are the ORCA load report that the response carried, NaN where there was none yet.
    """
    with _cached_here():
        return cast(F, numba.cfunc(DONE, cache=True)(function))


@compiled_done
def nothing_learnt(
    now_s: float,
    endpoint: int,
    latency_s: float,
    failed: int,
    utilisation: float,
    rate: float,
    active: Any,
    memory: Any,
) -> None:
    """Keep nothing from a response."""
