"""What the allocators raise."""

from __future__ import annotations


class AllocatorError(ValueError):
    """Base of all errors of this room: the caller keeps the plan that is in force."""


class ProblemError(AllocatorError):
    """A problem that no plan answers; the message names the field, what was found and what is allowed."""
