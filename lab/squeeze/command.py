"""``askew lab squeeze``: does the agent hold a target that is missed without it? On this machine, in its own groups."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from enforcer.settings import AgentSettings
from lab.options import check_file, number, seconds
from lab.squeeze.experiment import SqueezeSettings, squeeze
from lab.squeeze.report import draw, rows, table
from mesh.errors import BadInputError

HELP = "two servers and a CPU hog in control groups of our own, without and with the node agent (root)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    standard = SqueezeSettings()
    parser.add_argument(
        "--strategy", type=_strategy, default=standard.strategy, metavar="NAME", help="who decides (%(default)s)"
    )
    parser.add_argument(
        "--target-ms", type=_target_ms, default=standard.target_ms, metavar="X", help="p99 target (%(default)s)"
    )
    parser.add_argument(
        "--seconds", type=seconds, default=standard.lengths_s[2], metavar="N", help="of the agent's phase (%(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write rows and settings")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write the picture over time")
    parser.add_argument("--decisions", type=Path, metavar="FILE", help="write the agent's log: each decision and why")


def _strategy(text: str) -> str:
    from askew.node_agent import check_agent  # as late as the agent itself: other commands need none

    try:
        check_agent(AgentSettings(strategy=text))
    except BadInputError as error:
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: {error.allowed}") from error
    return text


def _target_ms(text: str) -> float:
    return number(text, low=0.1, high=1e6, allowed="milliseconds from 0.1 to 1000000")


def run(args: argparse.Namespace) -> int:
    """Run it, print the table, write what is asked for."""
    for option, file in (("--json", args.json), ("--svg", args.svg), ("--decisions", args.decisions)):
        check_file(option, file)
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
        args.json.write_text(json.dumps(answer, indent=2) + "\n")
    if args.svg:
        draw(seen, args.svg)
    if args.decisions:
        args.decisions.write_text(seen.agent_log)
    return 0
