"""Telemetry: what was sampled, unmerged, with times and reporters. What is not known is absent, never zero."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The samples of one tick. Times are seconds of the caller's clock."""

    time_s: float = 0.0
