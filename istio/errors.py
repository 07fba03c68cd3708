"""What this room raises, named for what the caller should do."""

from __future__ import annotations


class IstioError(Exception):
    """Base of all errors of this room."""


class SourceUnavailableError(IstioError):
    """No answer, not in time, or a server in trouble: try again at the next tick."""


class QueryRejectedError(IstioError):
    """The server understood and refused: the query, the limits or the credentials must change."""


class UnreadableAnswerError(IstioError):
    """The answer is not what the API documents: the address is probably something else's."""
