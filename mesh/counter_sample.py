"""One reading of a container's network counters, whatever read it."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.topology import ContainerName


@dataclass(frozen=True, slots=True)
class CounterSample:
    """Bytes that ``container`` has received and sent since its counters began; cumulative, restarts from zero allowed.

    Whole numbers from a kernel, possibly not from others. ``time_s`` is the source's own clock: only differences
    between samples of one source mean anything.
    """

    container: ContainerName
    time_s: float
    receive_bytes: float
    transmit_bytes: float
