"""What reading a sidecar's own pages raises, named for what the caller should do."""

from __future__ import annotations

from xds_server.errors import XdsError


class ScrapeError(XdsError):
    """Base of these errors."""


class SidecarUnavailableError(ScrapeError):
    """No answer, or not in time: try again later."""


class UnreadableStatsError(ScrapeError):
    """The answer is not what the page is documented to give: do not try again, say so."""
