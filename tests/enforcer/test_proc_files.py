"""Texts of ``/proc`` as numbers; texts that are not these are unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from enforcer.proc_files import busy_ticks, waited_s


def test_busy_is_all_but_idle_and_waiting_for_disks() -> None:
    """User, nice, system, interrupts, stolen; guests are in user."""
    assert busy_ticks("cpu  100 20 30 9000 500 4 5 6 70 8\ncpu0 1 1 1 1\n") == 100 + 20 + 30 + 4 + 5 + 6


@pytest.mark.parametrize("text", ["", "cpu", "cpu 1 2 3", "cpu0 1 2 3 4 5", "cpu 1 x 3 4 5", "intr 1 2 3 4 5"])
def test_what_is_no_stat_is_unknown(text: str) -> None:
    """Not 0: that would be an idle node."""
    assert busy_ticks(text) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("some avg10=1.00 avg60=0.20 avg300=0.00 total=2500000\nfull avg10=0.00 total=1\n", 2.5),
        ("full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n", None),
        ("some avg10=0.00\n", None),
        ("", None),
    ],
)
def test_waiting_is_the_total_of_some(text: str, seconds: float | None) -> None:
    """A kernel without PSI has no such text."""
    assert waited_s(text) == seconds


def test_this_machine_is_read() -> None:
    """The kernel's own text."""
    ticks = busy_ticks(Path("/proc/stat").read_text())
    assert ticks is not None
    assert ticks > 0
