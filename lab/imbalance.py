"""``askew lab bench imbalance``: an antagonist slows one of six containers, and lets go; five policies on real Envoys.

Runs are interleaved (all policies of repeat 1, then all of repeat 2, each repeat beginning with another policy), each
in a fresh mesh, so that what else the machine does meets all of them. The antagonist is a longer service time: apps
sleep, because on a few processors a real hog would slow the balancers as well as the container.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from lab.errors import LabError
from lab.imbalance_picture import draw
from lab.imbalance_report import HEADINGS, markdown, runs_json, table
from lab.imbalance_run import ALL_POLICIES, ASKEW, DEAF, POLICIES, Run, RunSettings, run_once
from lab.options import check_file, rate, run_until_signal, seconds
from lab.progress import teller

HELP = "p99 while an antagonist slows one of six containers, on real Envoys: Askew and what Envoy offers"
DEFAULT = RunSettings()
MOST_RUNS = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--policies", type=_policies, default=POLICIES, metavar="A,B", help=f"of: {', '.join(ALL_POLICIES)}"
    )
    parser.add_argument("--repeats", type=_repeats, default=5, metavar="N", help="runs of each policy (5)")
    for name, default, what in (
        ("--warm-up", DEFAULT.warm_up_s, "before anything is measured"),
        ("--before", DEFAULT.before_s, "measured before the antagonist"),
        ("--on", DEFAULT.on_s, "with the antagonist"),
        ("--after", DEFAULT.after_s, "after it"),
    ):
        parser.add_argument(name, type=seconds, default=default, metavar="S", help=f"seconds {what} ({default})")
    parser.add_argument(
        "--rate",
        type=rate,
        default=DEFAULT.requests_per_s,
        metavar="N",
        help=f"requests/s ({DEFAULT.requests_per_s:g})",
    )
    parser.add_argument("--tick", type=seconds, default=DEFAULT.tick_s, metavar="S", help="Askew's interval (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a list of one document per run there")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw p99 over time there (.svg, .png)")


def run(args: argparse.Namespace) -> int:
    """Run all; raise LabError, one line, where something failed, or Askew lost a request."""
    check_file("--json", args.json)
    check_file("--picture", args.picture, endings=(".svg", ".png"))
    settings = replace(
        DEFAULT,
        warm_up_s=round(args.warm_up),
        before_s=round(args.before),
        on_s=round(args.on),
        after_s=round(args.after),
        requests_per_s=args.rate,
        tick_s=args.tick,
    )
    runs: list[Run] = []
    with teller() as progress:
        for policy, repeat in interleaved(args.policies, args.repeats):
            runs.append(run_until_signal(run_once(policy, repeat, settings, progress)))
            if args.json is not None:  # after each run: a long comparison that is ended has still measured something
                args.json.write_text(json.dumps(runs_json(runs), indent=1) + "\n", encoding="utf-8")
    if args.picture is not None:
        draw(args.picture, runs)
    _print(runs)
    ours = [one for one in runs if one.policy in (ASKEW, DEAF)]
    if lost := sum(sum(one.failures.values()) for one in ours):
        raise LabError(f"{lost} requests failed with {ASKEW}: {max(ours, key=lambda one: len(one.failures)).failures}")
    return 0


def interleaved(policies: Sequence[str], repeats: int) -> Iterator[tuple[str, int]]:
    """Yield (policy, repeat); each repeat begins with the next policy.

    >>> list(interleaved(("a", "b"), 2))
    [('a', 1), ('b', 1), ('b', 2), ('a', 2)]
    """
    for repeat in range(repeats):
        start = repeat % len(policies)
        for policy in (*policies[start:], *policies[:start]):
            yield policy, repeat + 1


def _print(runs: Sequence[Run]) -> None:
    console = Console()
    if not console.is_terminal:
        print(markdown(runs))
        return
    shown = Table(title="one of six containers at a third of its speed", box=box.SIMPLE_HEAD)
    for heading in HEADINGS:
        shown.add_column(heading, justify="right")
    for line in table(runs):
        shown.add_row(*line)
    console.print(shown)


def _policies(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if len(set(names)) != len(names) or not set(names) <= set(ALL_POLICIES):
        allowed = ", ".join(ALL_POLICIES)
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: of {allowed}, with commas between them, each once")
    return names


def _repeats(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_RUNS):
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: a whole number from 1 to {MOST_RUNS}")
    return int(text)
