"""What this room raises, named for what the caller should do."""

from __future__ import annotations


class IstioError(Exception):
    """Base of all errors of this room."""


class SourceUnavailableError(IstioError):
    """No answer, not in time, or a server in trouble: try again at the next tick."""


class TryLaterError(SourceUnavailableError):
    """The server asks to be left alone (429): try again after ``retry_s`` seconds."""

    def __init__(self, message: str, *, retry_s: float) -> None:
        super().__init__(message)
        self.retry_s = retry_s


class QueryRejectedError(IstioError):
    """The server understood and refused: the query, the limits or the credentials must change."""


class NotPermittedError(QueryRejectedError):
    """The credentials are not known (401) or do not suffice (403): a person must grant what the message names."""


class NoSuchObjectError(QueryRejectedError):
    """There is no such object, or its kind is not installed (``kind_is_absent``)."""

    def __init__(self, message: str, *, kind_is_absent: bool) -> None:
        super().__init__(message)
        self.kind_is_absent = kind_is_absent


class ExistsAlreadyError(QueryRejectedError):
    """Another object has the name: read it, and update it if it is ours."""


class ChangedMeanwhileError(QueryRejectedError):
    """Someone else wrote first (409): read again and decide again. ``owners`` of fields, for server-side apply."""

    def __init__(self, message: str, *, owners: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.owners = owners


class StartOverError(IstioError):
    """The version asked for is no longer known (410): list again."""


class UnreadableAnswerError(IstioError):
    """The answer is not what the API documents: the address is probably something else's."""


class CannotConnectError(IstioError):
    """There is no usable configuration of a cluster: a person must give one."""


class TokenRefusedError(IstioError):
    """The API server does not know the token, or it is another's: its bearer stays outside. Never holds the token."""


class TooManyAskedError(IstioError):
    """One address makes us ask about more tokens than any sidecar needs: its bearer comes again later."""


class NotLeaderError(IstioError):
    """Another replica may write now, not this one: do nothing."""
