"""How busy this machine's processors are, from ``/proc/stat``: latencies measured on a full machine say little."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

BUSY = 0.9


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Ticks of all processors since boot."""

    busy: int
    all: int

    def busy_share_since(self, start: CpuTime) -> float:
        """Return the part of the time since ``start`` in which the processors were busy, 0 to 1.

        >>> CpuTime(busy=80, all=200).busy_share_since(CpuTime(busy=5, all=100))
        0.75
        """
        return (self.busy - start.busy) / max(1, self.all - start.all)


def cpu_time(stat: str | None = None) -> CpuTime:
    """Return the processors' time until now; ``stat`` is the text of ``/proc/stat`` (proc(5)).

    >>> cpu_time("cpu 10 0 20 60 10 0 0 0 0 0")
    CpuTime(busy=30, all=100)
    """
    text = Path("/proc/stat").read_text() if stat is None else stat
    # user nice system idle iowait irq softirq steal; guest time is already in user.
    ticks = [int(field) for field in text.splitlines()[0].split()[1:9]]
    return CpuTime(busy=sum(ticks) - ticks[3] - ticks[4], all=sum(ticks))
