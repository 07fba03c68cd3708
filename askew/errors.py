"""What the program raises for a person: one line, and an exit code."""

from __future__ import annotations


class CommandError(Exception):
    """A command cannot go on; the message is one line for stderr.

    Parameters
    ----------
    message:
        What, where, what is allowed.
    exit_code:
        2 for bad input, 1 for anything else that failed.
    """

    def __init__(self, message: str, *, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code
