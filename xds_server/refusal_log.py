"""Says who was refused, and not more than a log can bear: whoever is refused can come again at once, for ever."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

MOST_LINES, WINDOW_S = 20, 60.0


class RefusalLog:
    """``say`` each refusal: the first twenty of a minute are logged, of the others their number with the next line."""

    def __init__(self, log: logging.Logger, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._log, self._now_s = log, now_s
        self._since_s, self._lines, self._unsaid = now_s(), 0, 0

    def say(self, peer: object, why: object) -> None:
        """Log that ``peer`` was refused, or count it; the metrics count all."""
        self.warn(f"refused {peer}: {why}")

    def warn(self, line: str) -> None:
        """Log a line about what a peer can make happen as often as it likes, or count it."""
        now_s = self._now_s()
        if now_s - self._since_s >= WINDOW_S:
            self._since_s, self._lines = now_s, 0
        if self._lines >= MOST_LINES:
            self._unsaid += 1
            return
        self._lines += 1
        more, self._unsaid = f" (and {self._unsaid} more refusals before)" if self._unsaid else "", 0
        self._log.warning("%s%s", line, more)
