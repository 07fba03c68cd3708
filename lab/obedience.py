"""How long a change takes to reach the sidecars: read from their own counters of configuration changes.

A sidecar has obeyed when it has taken over the last piece that the change brings. Which piece is the last is known
only afterwards, so all readings are kept: it is the first moment at which a sidecar's counters stood as they stood in
the end, when nothing had moved anywhere for ``QUIET_S``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
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


async def watch_change(
    sidecars: Mapping[str, EnvoyAdmin], change: Callable[[], None], *, all_acked: Callable[[], Awaitable[bool]]
) -> Obedience:
    """Make ``change`` and return when the sidecars had taken it over; ``all_acked`` asks the control plane.

    Raises
    ------
    LabError
        where no sidecar has moved after ``DEADLINE_S``, or not all that was sent is acknowledged.
    """
    latest = await _read(sidecars)
    change()
    started_s, rounds, last_move_s = time.monotonic(), 0, 0.0
    moved_s: dict[str, float] = {}
    while True:
        now = await _read(sidecars)
        elapsed_s, rounds = time.monotonic() - started_s, rounds + 1
        for name, counters in now.items():
            if counters != latest[name]:
                latest[name], moved_s[name], last_move_s = counters, elapsed_s, elapsed_s
        if moved_s and elapsed_s - last_move_s > QUIET_S and await all_acked():
            return Obedience(min(moved_s.values()), max(moved_s.values()), elapsed_s / rounds)
        if elapsed_s > DEADLINE_S:
            what = "not every sidecar has acknowledged" if moved_s else "no sidecar has taken over"
            raise LabError(f"{what} the change after {DEADLINE_S:g} s")
        await asyncio.sleep(POLL_S)


async def _read(sidecars: Mapping[str, EnvoyAdmin]) -> dict[str, Mapping[str, int]]:
    readings = await asyncio.gather(*(admin.config_counters() for admin in sidecars.values()))
    return dict(zip(sidecars, readings, strict=True))
