"""The table and the picture of a squeeze."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab.squeeze.experiment import HOG, PHASES, SERVERS, Squeezed, percentile, phase_of

WINDOW_S = 2.0
SETTLING_S = 15.0  # after which the agent is expected to have found its partition
COLOURS = {"front": "#1f6fb4", "back": "#2a9d5c", HOG: "#c0392b"}


def rows(seen: Squeezed) -> list[dict[str, Any]]:
    """Return a row for each server and phase; the agent's phase again without its first seconds."""
    target_ms = seen.settings.target_ms
    found = []
    for server in SERVERS:
        own = [one for one in seen.requests if one.server == server]
        settled_s = seen.phase_ends_s[1] + SETTLING_S
        parts = [(name, [o for o in own if phase_of(seen, o.planned_s) == i]) for i, name in enumerate(PHASES)]
        parts.append((f"{PHASES[2]}, from {SETTLING_S:g} s on", [o for o in own if o.planned_s >= settled_s]))
        for phase, requests in parts:
            took = [one.took_ms for one in requests]
            found.append(
                {
                    "server": server,
                    "phase": phase,
                    "requests": len(took),
                    "p50_ms": round(percentile(took, 50.0), 1),
                    "p99_ms": round(percentile(took, 99.0), 1),
                    "beyond_target_percent": round(100.0 * sum(t > target_ms for t in took) / max(1, len(took)), 2),
                }
            )
    return found


def table(seen: Squeezed) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| server | phase | requests | p50 ms | p99 ms | beyond target |",
        "|---|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r['server']} | {r['phase']} | {r['requests']} | {r['p50_ms']:.1f} | {r['p99_ms']:.1f} "
        f"| {r['beyond_target_percent']:.2f} % |"
        for r in rows(seen)
    ]
    return "\n".join(lines)


def draw(seen: Squeezed, file: Path) -> None:
    """Write the picture over time: p99 of each server in windows of 2 s, and what each group may use."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "askew"
    figure, (upper, lower) = plt.subplots(2, 1, sharex=True, figsize=(9, 6), height_ratios=(3, 2))
    for server in SERVERS:
        windows: dict[int, list[float]] = {}
        for one in seen.requests:
            if one.server == server:
                windows.setdefault(int(one.planned_s // WINDOW_S), []).append(one.took_ms)
        times = sorted(windows)
        p99 = [percentile(windows[time], 99.0) for time in times]
        upper.plot([time * WINDOW_S for time in times], p99, color=COLOURS[server], label=server)
    upper.axhline(seen.settings.target_ms, color="black", linestyle="--", linewidth=1, label="target")
    upper.set_yscale("log")
    upper.set_ylabel("p99 of 2 s [ms]")
    upper.legend(loc="upper left")
    for group in (*SERVERS, HOG):
        points = [(limit.time_s, limit.cores) for limit in seen.limits if limit.group == group]
        lower.plot(
            [time_s for time_s, _ in points],
            [float("nan") if cores is None else cores for _, cores in points],
            color=COLOURS[group],
            label=group,
            drawstyle="steps-post",
        )
    lower.set_ylabel("CPU allowed [cores]")
    lower.set_xlabel("time [s]")
    lower.legend(loc="upper left")
    starts = (0.0, *seen.phase_ends_s[:-1])
    for start_s, name in zip(starts, PHASES, strict=True):
        for axis in (upper, lower):
            axis.axvline(start_s, color="grey", linewidth=0.5)
        upper.annotate(name, (start_s, 1.01), xycoords=("data", "axes fraction"), fontsize=9)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)
