"""Texts below ``/proc`` as numbers. Pure parsing; what a text does not say is None.

Sources: proc_stat(5) (the ``cpu`` line: clock ticks of all CPUs by kind since boot), Linux's
``Documentation/accounting/psi.rst`` (``total`` is microseconds).
"""

from __future__ import annotations

_BUSY_FIELDS = (1, 2, 3, 6, 7, 8)  # user, nice, system, irq, softirq, steal; guests are in user already
_FEWEST_FIELDS = 5  # up to idle, which every kernel shows


def busy_ticks(stat: str) -> int | None:
    """Return how many clock ticks all CPUs together were not idle since boot.

    >>> busy_ticks("cpu  10 1 5 900 3 1 1 0 0 0\\ncpu0 ...")
    18
    >>> busy_ticks("") is None
    True
    """
    fields = stat.partition("\n")[0].split()
    if len(fields) < _FEWEST_FIELDS or fields[0] != "cpu" or not all(field.isdecimal() for field in fields[1:]):
        return None
    return sum(int(fields[index]) for index in _BUSY_FIELDS if index < len(fields))


def waited_s(pressure: str) -> float | None:
    """Return for how long some task waited since boot, from a file of ``/proc/pressure``.

    >>> waited_s("some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\\nfull avg10=0.00 total=0\\n")
    1.5
    """
    for line in pressure.splitlines():
        total = line.rpartition("total=")[2]
        if line.startswith("some ") and total.isdecimal():
            return int(total) / 1e6
    return None
