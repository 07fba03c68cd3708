"""``askew lab bench …``: the papers' comparisons, on real Envoys. One module for each, found in this table."""

from __future__ import annotations

import argparse
import importlib

HELP = "the papers' tables, on real Envoys: imbalance, locality"
BENCHES = {"imbalance": "lab.imbalance", "locality": "lab.locality"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    benches = parser.add_subparsers(dest="bench", metavar="BENCH", required=True)
    for name, path in BENCHES.items():
        module = importlib.import_module(path)
        bench = benches.add_parser(name, help=module.HELP)
        module.add_arguments(bench)
        bench.set_defaults(run_bench=module.run)


def run(args: argparse.Namespace) -> int:
    """Run the chosen comparison."""
    code: int = args.run_bench(args)
    return code
