"""How long a change takes to reach the sidecars: read from their own counters of configuration changes.

A sidecar has obeyed when it has taken over the last piece that the change brings. Which piece is the last is known
only afterwards, so all readings are kept: it is the first moment at which a sidecar's counters stood as they stood in
the end, when nothing had moved anywhere for ``QUIET_S``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lab.envoy_admin import EnvoyAdmin
from lab.errors import LabError

QUIET_S = 1.0
DEADLINE_S = 15.0
POLL_S = 0.02  # the pause between two rounds; a round itself takes a few milliseconds per sidecar


@dataclass(frozen=True, slots=True)
class Obedience:
    """Seconds from the change to the first and to the last sidecar that obeyed, and how far apart the looks were."""

    first_s: float
    last_s: float
    round_s: float


async def watch_change(sidecars: Mapping[str, EnvoyAdmin], change: Callable[[], None]) -> Obedience:
    """Make ``change`` and return when the sidecars had taken it over.

    Raises
    ------
    LabError
        where a sidecar has not moved after ``DEADLINE_S``; names the ones that did not.
    """
    before = await _read(sidecars)
    change()
    started_s = time.monotonic()
    latest, moved_s = dict(before), dict.fromkeys(sidecars, 0.0)
    rounds, last_move_s = 0, 0.0
    while True:
        now = await _read(sidecars)
        elapsed_s = time.monotonic() - started_s
        rounds += 1
        for name, counters in now.items():
            if counters != latest[name]:
                latest[name], moved_s[name], last_move_s = counters, elapsed_s, elapsed_s
        still = [name for name in sidecars if latest[name] == before[name]]
        if not still and elapsed_s - last_move_s > QUIET_S:
            return Obedience(min(moved_s.values()), max(moved_s.values()), elapsed_s / rounds)
        if elapsed_s > DEADLINE_S:
            raise LabError(f"after {DEADLINE_S:g} s these sidecars have taken over nothing: {', '.join(still)}")
        await asyncio.sleep(POLL_S)


async def _read(sidecars: Mapping[str, EnvoyAdmin]) -> dict[str, Mapping[str, int]]:
    readings = await asyncio.gather(*(admin.config_counters() for admin in sidecars.values()))
    return dict(zip(sidecars, readings, strict=True))
