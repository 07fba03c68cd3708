"""What the estimators raise: a caller's mistake. Bad telemetry is a warning, never an error."""

from __future__ import annotations


class EstimatorError(ValueError):
    """Base of all errors of this room."""


class UnknownNameError(EstimatorError):
    """A link, service or container that the call graph does not hold; the caller must drop or mend it."""


class UnknownStrategyError(EstimatorError):
    """A strategy that nobody wrote; the message lists those there are."""

    def __init__(self, found: object, allowed: tuple[str, ...]) -> None:
        super().__init__(f"strategy: found {found!r}, allowed: {' | '.join(allowed)}")
