"""What a comparison of imbalances has measured: runs as JSON, and as a table that can be pasted into a page. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from lab.imbalance_run import Figures, Run

HEADINGS = (
    "policy",
    "runs",
    "p99 before, ms",
    "p99 on, ms",
    "p99 settled, ms",
    "p99 after, ms",
    "on, of least request",
    "settled, of least request",
    "slow container's share, settled",
    "failed",
)
REFERENCE = "least-request"


def runs_json(runs: Iterable[Run]) -> list[Mapping[str, Any]]:
    """Return one document a run."""
    return [asdict(run) for run in runs]


def runs_from_json(documents: Iterable[Mapping[str, Any]]) -> list[Run]:
    """Return the runs that ``runs_json`` has made documents of."""
    return [
        Run(
            policy=one["policy"],
            repeat=one["repeat"],
            tick_s=one["tick_s"],
            on_s=(one["on_s"][0], one["on_s"][1]),
            phases={name: Figures(**figures) for name, figures in one["phases"].items()},
            seconds=tuple(Figures(**figures) for figures in one["seconds"]),
            failures=dict(one["failures"]),
            cpu_busy_share=one["cpu_busy_share"],
        )
        for one in documents
    ]


def table(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """Return one line a policy, in the order in which they first ran: the median of its runs, and their range."""
    return [_line(policy, runs) for policy in dict.fromkeys(run.policy for run in runs)]


def markdown(runs: Sequence[Run]) -> str:
    """Return the table in Markdown."""
    lines = [HEADINGS, ("---",) + ("---:",) * (len(HEADINGS) - 1), *table(runs)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def ratios(policy: str, runs: Sequence[Run], *, phase: str) -> list[float]:
    """Return a policy's p99 over that of least request, of each repeat in which both ran."""
    reference = {run.repeat: run.phases[phase].p99_ms for run in runs if run.policy == REFERENCE}
    return [
        run.phases[phase].p99_ms / reference[run.repeat]
        for run in runs
        if run.policy == policy and reference.get(run.repeat, 0.0) > 0.0
    ]


def _line(policy: str, runs: Sequence[Run]) -> tuple[str, ...]:
    own = [run for run in runs if run.policy == policy]

    def p99(phase: str) -> str:
        return _spread([run.phases[phase].p99_ms for run in own], _milliseconds)

    def of_reference(phase: str) -> str:
        return _spread(ratios(policy, runs, phase=phase), lambda ratio: f"{ratio:.2f}")

    return (
        policy,
        str(len(own)),
        p99("before"),
        p99("on"),
        p99("settled"),
        p99("after"),
        of_reference("on"),
        of_reference("settled"),
        _spread([run.phases["settled"].slow_share for run in own], lambda share: f"{100.0 * share:.1f} %"),
        str(sum(sum(run.failures.values()) for run in own)),
    )


def _spread(values: Sequence[float], text: Callable[[float], str]) -> str:
    if not values:
        return "-"
    middle = text(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({text(min(values))} to {text(max(values))})"


def _milliseconds(value: float) -> str:
    return f"{value:.0f}"
