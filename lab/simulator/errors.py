"""What the simulator raises."""

from __future__ import annotations


class SimulatorError(ValueError):
    """Base of this package: a scenario or policy that cannot be run as it is; the message says what is allowed."""
