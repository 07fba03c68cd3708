"""Settings of what proxies may report, and how often they are asked to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """Limits of what is taken in from proxies. Past each of them the oldest is dropped and counted."""

    load_report_interval_s: float = 2.5
    """How often sidecars report their endpoints' load; twice a tick of 5 s."""

    bytes_per_s: int = 2 * 1024 * 1024
    """What one proxy may send, all its streams together; past it messages are dropped unread."""

    burst_bytes: int = 8 * 1024 * 1024
    """What it may send at once: two messages of gRPC's largest size."""

    most_series: int = 4_000
    """Endpoints, counters and histograms kept of one proxy, each."""

    most_series_in_all: int = 1_000_000
    """The same of all proxies together; each has an equal part of it."""

    most_records: int = 1_000
    """Access records, and spans, kept of one proxy from one tick to the next, each."""

    most_records_in_all: int = 100_000
    """The same of all proxies together; each has an equal part of it."""

    most_reporters: int = 20_000
    """Proxies and span senders known at a time; another is refused until one is forgotten."""

    scrape: str = "agents"
    """Whose statistics are read from their Prometheus pages: ``agents`` (on nodes with an agent), ``all``, ``off``."""

    scrape_interval_s: float = 5.0
    """How often; a tick."""

    scrape_deadline_s: float = 2.0
    """Of one page."""

    scrape_at_once: int = 16
    """Pages read at a time."""

    forget_s: float = 60.0
    """A proxy that has said nothing for this long is forgotten with all its samples."""
