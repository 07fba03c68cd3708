"""A picture of a scenario: p99 over time, one line a policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lab.simulator.measures import TICK_S
from lab.simulator.scenario import Scenario


def draw(path: Path, scenario: Scenario, series: Mapping[str, NDArray[np.float64]], *, seeds: int) -> None:
    """Write a picture of p99 (ms, logarithmic) over time to ``path``; its ending says in which format."""
    # Loaded here: it takes a second, and only a run with --picture needs it.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": scenario.name, "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(7.0, 3.4), layout="constrained")
        axes = figure.add_subplot()
        for name, p99_ms in series.items():
            middles = TICK_S * (np.arange(p99_ms.size) + 0.5)
            axes.plot(middles, np.where(np.isfinite(p99_ms), p99_ms, np.nan), marker=".", linewidth=1, label=name)
        for at_s in scenario.steps_s:
            axes.axvline(at_s, color="grey", linewidth=0.8, linestyle=":")
        axes.set_yscale("log")
        ticks: Sequence[int] = (50, 100, 200, 500, 1000, 2000)
        axes.set_yticks(ticks, [str(tick) for tick in ticks])
        axes.set_xlim(scenario.warmup_s, scenario.duration_s)
        axes.set_xlabel("s")
        axes.set_ylabel("p99 of 5 s, ms")
        axes.set_title(f"{scenario.name}: simulated, median of {seeds} seeds", fontsize=9)
        axes.legend(fontsize=8, ncols=2)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
