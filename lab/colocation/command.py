"""``askew lab colocate``: partitioning strategies on a simulated node; tables on the terminal, rows as JSON."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path

from askew.errors import CommandError
from lab.colocation import experiments
from lab.colocation.heatmap import heatmap
from lab.colocation.utilisation import ORACLE, STRATEGIES, Judge, Measure
from lab.options import check_file

HELP = "partitioning strategies (PARTIES, Heracles, askew, …) on a simulated node with several services"
TABLES = ("utilisation", "heatmap", "convergence", "fluctuating", "ablation", "cycles")
MEASURES: tuple[Measure, ...] = ("grid", "rays")
JUDGES: tuple[Judge, ...] = ("kept", "found")
DEFAULT = "unmanaged,heracles,parties,askew"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--table", choices=TABLES, default="utilisation", help="which table (utilisation)")
    parser.add_argument("--strategies", default=DEFAULT, metavar="A,B,C", help=f"`all`, or names ({DEFAULT})")
    parser.add_argument("--measure", choices=MEASURES, default="grid", help="how loads are drawn and raised (grid)")
    parser.add_argument(
        "--judge", choices=JUDGES, default="kept", help="a partition must be kept, or found only (kept)"
    )
    parser.add_argument("--step", type=int, choices=(5, 10), default=5, help="points by which loads rise (5)")
    parser.add_argument("--services", default="2,3,4,5,6", metavar="N,M", help="how many services (2,3,4,5,6)")
    parser.add_argument("--rays", type=_count, default=20, metavar="N", help="mixes and directions of load (20)")
    parser.add_argument("--starts", type=_count, default=1000, metavar="N", help="random starts, for cycles (1000)")
    parser.add_argument("--seed", type=_count, default=1, metavar="N", help="seed of all draws (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw the table, or Fig. 9 over time, there")


def run(args: argparse.Namespace) -> int:
    """Run one table. Raises CommandError for bad input."""
    names, services = _strategies(args.strategies), _services(args.services)
    check_file("--json", args.json)
    check_file("--picture", args.picture)
    rows = _rows(args, names, services)
    if args.table == "utilisation":
        print(_utilisation_table(rows))
    if args.json is not None:
        _write(args.json, json.dumps(rows, indent=1, allow_nan=False))
    if args.picture is not None:
        _draw(args.picture, args.table, rows, names)
    return 0


def _rows(args: argparse.Namespace, names: list[str], services: list[int]) -> list[experiments.Row]:
    says: Callable[[str], None] = print
    if args.table == "utilisation":
        return experiments.utilisation(
            services, names, measure=args.measure, rays=args.rays, seed=args.seed, says=says,
            judge=args.judge, step=args.step / 100.0,
        )  # fmt: skip
    if args.table == "heatmap":
        return heatmap(names, judge=args.judge, seed=args.seed, says=says)
    if args.table == "convergence":
        return experiments.convergence(services, names, measure=args.measure, rays=args.rays, seed=args.seed, says=says)
    if args.table == "fluctuating":
        return experiments.fluctuating_rows(names, seeds=args.rays, says=says)
    if args.table == "ablation":
        return [
            row
            for count in services
            for row in experiments.ablation(count, measure=args.measure, rays=args.rays, seed=args.seed, says=says)
        ]
    return [row for name in names for row in experiments.cycles(name, starts=args.starts, seed=args.seed, says=says)]


def _utilisation_table(rows: list[experiments.Row]) -> str:
    lines = [f"{'strategy':<18}{'services':>9}{'mean':>8}{'range':>12}{'gap':>7}{'worst gap':>11}  (simulated, points)"]
    for key in dict.fromkeys((row["services"], row["strategy"]) for row in rows):
        found = [row for row in rows if (row["services"], row["strategy"]) == key]
        emu = [float(str(row["emu_points"])) for row in found]
        gaps = [float(str(row["oracle_points"])) - one for row, one in zip(found, emu, strict=True)]
        reach = f"{min(emu):.0f}-{max(emu):.0f}"
        mean, gap = statistics.fmean(emu), statistics.fmean(gaps)
        lines.append(f"{key[1]:<18}{key[0]:>9}{mean:>8.1f}{reach:>12}{gap:>7.1f}{max(gaps):>11.0f}")
    return "\n".join(lines)


def _strategies(text: str) -> list[str]:
    known = [*STRATEGIES, ORACLE]
    names = known if text == "all" else text.split(",")
    for name in names:
        if name not in known:
            raise CommandError(f"--strategies: found {name!r}, allowed: {', '.join(known)}")
    return names


def _services(text: str) -> list[int]:
    counts = text.split(",")
    if not all(count in {"2", "3", "4", "5", "6"} for count in counts):
        raise CommandError(f"--services: found {text!r}, allowed: numbers from 2 to 6 with commas")
    return [int(count) for count in counts]


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: a whole number from 1 to 1000000")
    return int(text)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise CommandError(f"--json: {path}: {error.strerror}") from error


def _draw(path: Path, table: str, rows: list[experiments.Row], names: list[str]) -> None:
    try:
        from lab.colocation import pictures
    except ModuleNotFoundError as error:
        raise CommandError(f"--picture: needs {error.name}; install askew[lab]", exit_code=1) from error
    if table == "utilisation":
        pictures.draw_utilisation(path, rows)
    elif table == "fluctuating":
        pictures.draw_fluctuating(path, names, seed=1)
    else:
        raise CommandError(f"--picture: found table {table!r}, allowed: utilisation, fluctuating")
