"""What a person may set about the writer. Composed and parsed once, by ``askew/``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WriterSettings:
    """Settings of the one writer."""

    journal_name: str = "writer"
    """Base of the names of the lock and the journal; each role of the agent has its own."""

    journal_limit_bytes: int = 256 * 1024
    """A longer journal is rewritten as its state alone. 256 KiB hold about an hour of 500 ms steps."""

    reasserts: int = 1
    """How often a value that was set back to its original is written again: systemd's daemon-reload does that once,
    a foreign writer does it again and then wins."""

    page_bytes: int = 4096
    """The kernel rounds memory limits down to it."""
