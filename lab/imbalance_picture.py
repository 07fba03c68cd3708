"""The picture of a comparison of imbalances: p99 over time, and the slow container's share, one line a policy."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.imbalance_run import ENDPOINTS, Figures, Run

TICKS_MS = (100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)


def median_over_time(runs: Sequence[Run], figure: Callable[[Figures], float]) -> list[float]:
    """Return the median over runs of each second's figure."""
    return [statistics.median(map(figure, second)) for second in zip(*(run.seconds for run in runs), strict=False)]


def draw(path: Path, runs: Sequence[Run]) -> None:
    """Write the picture of ``runs``, all of the same lengths, to ``path``; its ending says in which format."""
    # Loaded here: it takes a second, and only a run with --picture needs it.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    first, last = runs[0].on_s
    with rc_context({"svg.hashsalt": "imbalance", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(7.0, 5.2), layout="constrained")
        upper, lower = figure.subplots(2, sharex=True, height_ratios=(2, 1))
        for policy in dict.fromkeys(run.policy for run in runs):
            own = [run for run in runs if run.policy == policy]
            p99_ms = median_over_time(own, lambda one: max(one.p99_ms, 1.0))
            shares = median_over_time(own, lambda one: 100.0 * one.slow_share)
            upper.plot([i + 0.5 for i in range(len(p99_ms))], p99_ms, linewidth=1.2, label=policy)
            lower.plot([i + 0.5 for i in range(len(shares))], shares, linewidth=1.2)
        lower.axhline(100.0 / ENDPOINTS, color="grey", linewidth=0.8, linestyle=":")
        for axes in (upper, lower):
            axes.axvspan(first, last, color="grey", alpha=0.15, linewidth=0)
        upper.set_yscale("log")
        upper.set_ylim(bottom=50)
        upper.set_yticks(TICKS_MS, [str(tick) for tick in TICKS_MS])
        upper.minorticks_off()
        upper.set_ylabel("p99 of each second, ms")
        lower.set_ylabel("slow container's share, %")
        lower.set_ylim(bottom=0)
        lower.set_xlabel("s; grey: one of six containers at a third of its speed")
        repeats = len({run.repeat for run in runs})
        upper.set_title(f"Real Envoys, {repeats} interleaved runs each: median of each second", fontsize=9)
        figure.legend(loc="outside lower center", fontsize=8, ncols=3)
        figure.align_ylabels()
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
