"""What the xDS room raises, named for what the caller should do."""

from __future__ import annotations


class XdsError(Exception):
    """Base of all errors of this room."""


class RefuseStreamError(XdsError):
    """The client broke the protocol: end the stream with INVALID_ARGUMENT and this message."""


class RefusePeerError(XdsError):
    """The certificate does not fit the proxy that the client says it is: PERMISSION_DENIED, with this message."""


class RefuseTokenError(XdsError):
    """There is no bearer token, or one that does not count: UNAUTHENTICATED, with this message, never the token."""


class CannotCheckTokenError(XdsError):
    """Nobody can say now whether the token counts: UNAVAILABLE, so that the client comes again."""


class TooManyOfPeerError(XdsError):
    """One pod or address asks for more than any sidecar needs: RESOURCE_EXHAUSTED, with this message."""


class BadSettingsError(XdsError):
    """The settings contradict each other, name unusable files, or would expose the port: say so and stop."""


class InconsistentSnapshotError(XdsError):
    """A snapshot would break traffic: keep the previous one."""


class CannotListenError(XdsError):
    """The port is not to be had: say so and stop."""
