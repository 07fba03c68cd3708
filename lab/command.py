"""``askew lab …``: a whole mesh on this machine. One module for each subcommand, found in this table."""

from __future__ import annotations

import argparse
import importlib

from askew.errors import CommandError
from lab.errors import LabError
from mesh.errors import BadInputError

HELP = "a whole mesh on this machine: bench, demo, simulate, up"
SUBCOMMANDS = {"bench": "lab.bench", "demo": "lab.demo", "simulate": "lab.simulator.command", "up": "lab.up"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="lab_command", metavar="COMMAND", required=True)
    for name, path in SUBCOMMANDS.items():
        module = importlib.import_module(path)
        command = commands.add_parser(name, help=module.HELP)
        module.add_arguments(command)
        command.set_defaults(run_lab=module.run)


def run(args: argparse.Namespace) -> int:
    """Run the chosen subcommand; what fails in the lab is one line and exit code 1."""
    try:
        code: int = args.run_lab(args)
    except (LabError, BadInputError) as error:
        raise CommandError(f"askew lab {args.lab_command}: {error}", exit_code=1) from error
    return code
