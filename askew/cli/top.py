"""``askew top``: the services by what leaves their nodes; refreshed on a terminal, once into a pipe."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from askew.cli.json_document import dump_json
from askew.cli.text_table import number, percent, text_table
from askew.errors import CommandError
from askew.page_reader import PageReader, add_reader_arguments

HELP = "services by the requests that leave their node"
SORTS = {
    "cross": "cross_node_requests_per_s",
    "share": "cross_node_share",
    "rate": "requests_per_s",
    "connections": "connections",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sort", choices=tuple(SORTS), default="cross", help="by what, the most first")
    parser.add_argument("--every", metavar="SECONDS", type=_seconds, default=2.0, help="time between two looks")
    parser.add_argument("--once", action="store_true", help="look once, also on a terminal")
    add_reader_arguments(parser)


def run(args: argparse.Namespace) -> int:
    reader = PageReader.of(args)
    if args.output == "json":
        print(dump_json({"services": services(reader, args.sort)}))
    elif args.once or not sys.stdout.isatty():
        print(_text(services(reader, args.sort)))
    else:
        _watch(reader, args.sort, args.every)
    return 0


def services(reader: PageReader, sort: str) -> list[dict[str, Any]]:
    """Return the rows of ``-o json``, sorted, from ``/debug/allocationz``."""
    rows = [_row(page) for page in reader.get("/debug/allocationz")]
    return sorted(rows, key=lambda row: (-row[SORTS[sort]], row["service"], row["port"]))


def _row(page: dict[str, Any]) -> dict[str, Any]:
    rate = sum(page["client_rates"])
    return {
        "service": page["service"],
        "port": page["port"],
        "requests_per_s": rate,
        "cross_node_share": page["cross_node_share"],
        "cross_node_requests_per_s": rate * page["cross_node_share"],
        "lower_bound_cross_node_share": page.get("lower_bound_cross_node_share"),
        "connections": page["connections"],
        "clients": len(page["clients"]),
        "endpoints": len(page["endpoints"]),
        "state": _state(page),
    }


def _state(page: dict[str, Any]) -> str:
    if page.get("rolled_back"):
        return "rolled back"
    if not page["managed"]:
        return "not managed"
    return "applied" if page["applied"] else "observed"


def _text(rows: list[dict[str, Any]]) -> str:
    header = ("SERVICE", "REQUESTS/S", "CROSS/S", "CROSS", "BOUND", "CONNECTIONS", "STATE")
    return text_table(header, [_cells(row) for row in rows])


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    bound = row["lower_bound_cross_node_share"]
    return (
        f"{row['service']}:{row['port']}",
        number(row["requests_per_s"]),
        number(row["cross_node_requests_per_s"]),
        percent(row["cross_node_share"]),
        "-" if bound is None else percent(bound),
        str(row["connections"]),
        row["state"],
    )


def _watch(reader: PageReader, sort: str, every_s: float) -> None:
    """Show until Ctrl-C. A control plane that goes away is said and awaited, once it has answered."""
    shown = _text(services(reader, sort))
    with Live(Text(shown), console=Console(), auto_refresh=False, screen=True) as live:
        while True:
            time.sleep(every_s)
            try:
                shown = _text(services(reader, sort))
                note = ""
            except CommandError as error:
                note = f"{error}\n\n"
            live.update(Text(note + shown), refresh=True)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: seconds from 0.1 to 3600")
    return value
