"""Pictures of the simulated tables: bars of effective utilisation, and Fig. 9 over time."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from lab.colocation.experiments import FIG_9, FIG_9_S, Row, fluctuating


def draw_utilisation(path: Path, rows: Sequence[Row]) -> None:
    """Draw mean effective utilisation by number of services, one line for each strategy, and the oracle's."""
    figure, axes = plt.subplots(figsize=(7.0, 4.0))
    services = sorted({int(str(row["services"])) for row in rows})
    names = list(dict.fromkeys(str(row["strategy"]) for row in rows))
    for name in names:
        axes.plot(services, [_mean(rows, count, name, "emu_points") for count in services], marker="o", label=name)
    oracle = [_mean(rows, count, names[0], "oracle_points") for count in services]
    axes.plot(services, oracle, "k--", label="oracle")
    axes.set_xticks(services)
    axes.set_xlabel("services on the node")
    axes.set_ylabel("effective utilisation, points (simulated)")
    axes.legend()
    _save(figure, path)


def _mean(rows: Sequence[Row], count: int, name: str, key: str) -> float:
    return statistics.fmean(
        float(str(row[key])) for row in rows if row["services"] == count and row["strategy"] == name
    )


def draw_fluctuating(path: Path, names: Sequence[str], *, seed: int) -> None:
    """Draw Fig. 9's load, and for each strategy the true part of requests over their targets."""
    figure, all_axes = plt.subplots(len(names) + 1, 1, figsize=(8.0, 1.8 * (len(names) + 1)), sharex=True)
    times, loads = zip(*FIG_9, (FIG_9_S, FIG_9[-1][1]), strict=True)
    all_axes[0].step(times, loads, where="post", color="black")
    all_axes[0].set_ylabel("memcached\nload, %")
    for axes, name in zip(all_axes[1:], names, strict=True):
        trace, _ = fluctuating(name, seed=seed)
        for at, container in enumerate(trace.names):
            axes.plot(trace.times_s, [max(1e-5, row[at]) for row in trace.late], label=container)
        axes.axhline(0.01, color="grey", linestyle=":")
        axes.set_yscale("log")
        axes.set_ylabel(f"{name}\nlate part")
    all_axes[1].legend(loc="upper right", fontsize="small")
    all_axes[-1].set_xlabel("seconds (simulated)")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
