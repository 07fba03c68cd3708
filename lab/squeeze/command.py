"""``askew lab squeeze``: does the agent hold a target that is missed without it? On this machine, in its own groups."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from lab.options import seconds
from lab.squeeze.experiment import SqueezeSettings, squeeze
from lab.squeeze.report import draw, rows, table

HELP = "two servers and a CPU hog in control groups of our own, without and with the node agent (root)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    standard = SqueezeSettings()
    parser.add_argument("--strategy", default=standard.strategy, help=f"who decides ({standard.strategy})")
    parser.add_argument("--target-ms", type=float, default=standard.target_ms, help="p99 target (%(default)s)")
    parser.add_argument("--seconds", type=seconds, default=standard.lengths_s[2], help="length of the agent's phase")
    parser.add_argument("--json", metavar="FILE", help="write rows and settings")
    parser.add_argument("--svg", metavar="FILE", help="write the picture over time")
    parser.add_argument("--decisions", metavar="FILE", help="write the agent's log: each decision and why")


def run(args: argparse.Namespace) -> int:
    """Run it, print the table, write what is asked for."""
    calm_s, hog_s, _ = SqueezeSettings().lengths_s
    settings = SqueezeSettings(
        strategy=args.strategy, target_ms=args.target_ms, lengths_s=(calm_s, hog_s, args.seconds)
    )
    seen = squeeze(settings, say=lambda text: print(text, file=sys.stderr, flush=True))
    print(table(seen))
    print(
        f"\ntarget {settings.target_ms:g} ms; the agent used {seen.agent_cpu_percent:.1f} % of a core "
        f"once it was ready, and {seen.agent_start_cpu_s:.1f} s of CPU to start"
    )
    if args.json:
        answer = {
            "strategy": settings.strategy,
            "target_ms": settings.target_ms,
            "agent_cpu_percent": round(seen.agent_cpu_percent, 2),
            "agent_start_cpu_s": round(seen.agent_start_cpu_s, 2),
            "rows": rows(seen),
        }
        Path(args.json).write_text(json.dumps(answer, indent=2) + "\n")
    if args.svg:
        draw(seen, Path(args.svg))
    if args.decisions:
        Path(args.decisions).write_text(seen.agent_log)
    return 0
