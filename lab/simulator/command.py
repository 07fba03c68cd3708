"""``askew lab simulate``: policies under a scenario, the same requests for each; a table, and rows as JSON."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from askew.errors import CommandError
from lab.options import check_file
from mesh.errors import one_line, shown

if TYPE_CHECKING:  # numba takes a second to import: only a run pays for it, not every `askew lab`
    from lab.simulator.measures import Row
    from lab.simulator.policy import Policy
    from lab.simulator.scenario import Scenario

T = TypeVar("T")
HELP = "load-balancing policies in a discrete-event simulator, under the same requests"
MOST_SEEDS = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scenario", default="s2", metavar="NAME", help="which scenario (s2); `list` prints them")
    parser.add_argument(
        "--policies", default="round-robin,least-request", metavar="A,B,C", help="`all`, `list`, or names"
    )
    parser.add_argument("--seeds", type=_seeds, default=8, metavar="N", help="seeds 1..N for each policy (8)")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw p99 over time there (.svg or .png)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a list of one row per policy and seed there")


def run(args: argparse.Namespace) -> int:
    """Run every policy under every seed; print medians with their range. Raises CommandError for bad input."""
    try:
        from lab.simulator.policies import POLICIES
    except ModuleNotFoundError as error:
        raise CommandError(
            f"needs {error.name}, which is not installed: pip install 'askew[lab]'", exit_code=1
        ) from error

    scenarios = _scenarios()
    if "list" in (args.scenario, args.policies):
        _print_names(scenarios, POLICIES)
        return 0
    check_file("--json", args.json)
    check_file("--picture", args.picture, endings=(".svg", ".png"))
    make_scenario = _one("--scenario", args.scenario, scenarios)
    chosen = list(POLICIES) if args.policies == "all" else args.policies.split(",")
    policies = {name: _one("--policies", name, POLICIES) for name in chosen}
    scenario = make_scenario()
    rows = _rows(scenario, policies, args.seeds)
    _show_over_time(scenario, rows, policies, args)
    if args.json is not None:
        text = json.dumps([asdict(row) for row in rows], indent=1, allow_nan=False)
        args.json.write_text(text + "\n", encoding="utf-8")
    return 0


def _show_over_time(scenario: Scenario, rows: list[Row], policies: Iterable[str], args: argparse.Namespace) -> None:
    """Print what followed each step of the scenario, and draw p99 over time where asked to."""
    from lab.simulator.pictures import draw
    from lab.simulator.step_response import median_over_time, step_responses

    series = {name: median_over_time([row for row in rows if row.policy == name]) for name in policies}
    if scenario.steps_s:
        print(f"after each step, p99 of 5 s (ticks): objective {1000 * scenario.slo_s:.0f} ms")
    for name, p99_ms in series.items():
        for one in step_responses(scenario, p99_ms):
            back = "never near it" if one.ticks is None else f"near it after {one.ticks} ticks"
            print(
                f"{name:<30} {one.at_s:>5.0f} s: new level {one.steady_ms:.0f} ms, {back}, "
                f"worst {one.worst_ms:.0f} ms, above the objective {one.excursions} times"
            )
    if args.picture is not None:
        draw(args.picture, scenario, series, seeds=args.seeds)


def _seeds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MOST_SEEDS:
        raise argparse.ArgumentTypeError(f"found {shown(text)}, allowed: an integer from 1 to {MOST_SEEDS}")
    return int(text)


def _scenarios() -> Mapping[str, Callable[[], Scenario]]:
    from lab.simulator.applications import application_scenario
    from lab.simulator.scenarios import SCENARIOS
    from lab.topology_file import load_application, names, shipped_file

    def shipped(name: str) -> Callable[[], Scenario]:
        return lambda: application_scenario(load_application(shipped_file(name)))

    return {**SCENARIOS, **{name: shipped(name) for name in names()}}


def _one(option: str, name: str, table: Mapping[str, T]) -> T:
    if name not in table:
        raise CommandError(one_line(f"{option}: found {shown(name)}, allowed: {' | '.join(table)}"))
    return table[name]


def _print_names(scenarios: Iterable[str], policies: Iterable[str]) -> None:
    print("scenarios: " + " ".join(scenarios))
    print("policies: " + " ".join(policies))


def _rows(scenario: Scenario, policies: Mapping[str, Callable[[], Policy]], seeds: int) -> list[Row]:
    from lab.simulator.measures import row_of
    from lab.simulator.run import simulate

    print(f"simulated: {scenario.name}, median of {seeds} seeds (lowest, highest)")
    titles = f"{'p50 ms':>8} {'p99 ms':>8} {'(range)':>18} {'p99.9 ms':>9} {'max/mean':>8} {'cross':>6} {'conns':>6}"
    print(f"{'policy':<30} {titles}")
    rows: list[Row] = []
    for name, make in policies.items():
        mine = [row_of(simulate(scenario, make, seed=seed), policy=name, seed=seed) for seed in range(1, seeds + 1)]
        print(_line(name, mine), flush=True)
        rows.extend(mine)
    return rows


def _line(name: str, rows: list[Row]) -> str:
    p99 = [_number(row.p99_ms) for row in rows]
    spread = f"({min(p99):.0f}, {max(p99):.0f})"
    p50, p999 = (
        statistics.median(_number(v) for v in values)
        for values in ([r.p50_ms for r in rows], [r.p999_ms for r in rows])
    )
    uneven = statistics.median(row.max_over_mean_utilisation for row in rows)
    cross = statistics.median(row.cross_node_share for row in rows)
    connections = statistics.median(row.connections for row in rows)
    return (
        f"{name:<30} {p50:>8.1f} {statistics.median(p99):>8.1f} {spread:>18} {p999:>9.1f} "
        f"{uneven:>8.2f} {cross:>6.3f} {connections:>6.0f}"
    )


def _number(value_ms: float | None) -> float:
    return float("inf") if value_ms is None else value_ms
