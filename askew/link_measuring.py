"""Choose how to measure a container's links: the cheapest way that works, and why the cheaper ones did not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mesh.link_measurement import LinkMeasurer, Measurement, Unmeasured
from mesh.topology import Container


@dataclass(frozen=True, slots=True)
class Choice:
    """The measurement that was taken (None where no way worked), and every way passed over, with its reason."""

    measurement: Measurement | None
    passed_over: tuple[Unmeasured, ...]


async def measure_cheapest(
    measurers: Sequence[LinkMeasurer],
    container: Container,
    *,
    window_s: float,
    sides: Literal["client", "both"] = "both",
) -> Choice:
    """Try ``measurers`` in their order, cheapest first, until one knows all that is asked.

    An incomplete measurement is passed over as long as a dearer way may do better; if none does, the first incomplete
    one is the answer. Takes up to ``len(measurers)`` windows.

    Parameters
    ----------
    window_s:
        How long each way watches.
    sides:
        "both" passes over ways that see only the calls which the container makes.
    """
    passed_over: list[Unmeasured] = []
    incomplete: Measurement | None = None
    for measurer in measurers:
        result = await measurer.measure(container, window_s=window_s)
        if isinstance(result, Unmeasured):
            passed_over.append(result)
        elif sides == "both" and result.covers == "client":
            passed_over.append(Unmeasured(container.name, result.method, "sees only the calls that it makes"))
        elif result.complete:
            return Choice(result, tuple(passed_over))
        else:
            passed_over.append(Unmeasured(container.name, result.method, "incomplete: " + "; ".join(result.notes)))
            incomplete = incomplete or result
    if incomplete is not None:
        passed_over = [one for one in passed_over if one.method != incomplete.method]
    return Choice(incomplete, tuple(passed_over))
