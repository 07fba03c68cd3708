"""``askew serve`` with one more option: while a file exists, the plan is PreferSameNode's. For comparisons only.

    python -m lab.same_node_plane --mesh FILE --same-node-while FILE [options of askew serve]

A file, and not a word in the mesh file, because nothing that Askew offers may depend on what the lab compares it with.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from askew.cli import serve
from askew.control_plane import ControlPlane
from lab.same_node import SameNodePlanner


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m lab.same_node_plane", description=serve.HELP)
    serve.add_arguments(parser)
    parser.add_argument("--same-node-while", type=Path, required=True, metavar="FILE")
    options = parser.parse_args(arguments)
    plane = partial(ControlPlane, planner=SameNodePlanner(options.same_node_while.exists))
    return serve.run(options, make_plane=plane)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
