"""What the lab raises. ``lab/command.py`` turns each into one line and an exit code."""

from __future__ import annotations


class LabError(Exception):
    """Base of all errors of this room: the run cannot go on; the message is one line."""


class StartError(LabError):
    """A part of the mesh did not come up; the message names it and where its log is quoted from."""


class PlaceTakenError(LabError):
    """An address or port that the lab needs is in use by somebody else; stop them or try again."""


class WireError(LabError):
    """A peer closed the connection, or spoke no HTTP that the lab's small client understands."""
