"""Refusals are said, and a flood of them is no flood of lines."""

from __future__ import annotations

import logging

import pytest

from tests.fakes.clock import FakeClock
from xds_server.refusal_log import MOST_LINES, WINDOW_S, RefusalLog


def test_a_flood_of_refusals_is_a_few_lines_and_a_number(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever is refused, without a certificate even, can come as often as it likes."""
    refusals = RefusalLog(logging.getLogger("test"), now_s=clock)
    for _ in range(10_000):
        refusals.say("10.0.0.9:1", "no token")
    assert len(caplog.records) == MOST_LINES
    clock.now_s += WINDOW_S
    refusals.say("10.0.0.8:1", "no token")
    assert caplog.records[-1].getMessage() == (
        f"refused 10.0.0.8:1: no token (and {10_000 - MOST_LINES} more refusals before)"
    )
