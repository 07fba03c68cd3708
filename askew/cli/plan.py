"""``askew plan``: who of a service's clients sends how much to which endpoint."""

from __future__ import annotations

import argparse
from typing import Any

from askew.cli.json_document import dump_json
from askew.cli.text_table import number, percent, text_table
from askew.explanation import Allocation
from askew.page_reader import PageReader, add_reader_arguments

HELP = "a service's plan: clients, endpoints, shares and why"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("service", metavar="SERVICE", help="name, name.namespace, either with :port")
    add_reader_arguments(parser)


def run(args: argparse.Namespace) -> int:
    page = PageReader.of(args).get("/debug/allocationz", service=args.service)
    print(dump_json(page) if args.output == "json" else _text(page))
    return 0


def _text(page: dict[str, Any]) -> str:
    rows = []
    for client in page["clients"]:
        allocation = Allocation(page, client)
        rows += [
            (client, part.endpoint, part.tier or "-", percent(part.share), number(part.requests_per_s))
            for part in allocation.parts()
            if part.share > 0
        ]
    targets = zip(page["endpoints"], page["endpoint_places"], page["capacities"], page["targets"], strict=True)
    ends = [
        (name, place["node"] if place else "-", "-" if capacity is None else number(capacity), number(target))
        for name, place, capacity, target in targets
    ]
    summary = (
        f"{page['service']}:{page['port']}: {percent(page['local_share'])} of requests stay on their node, "
        f"{percent(page['cross_node_share'])} leave it, {page['connections']} connections."
    )
    force = "Rolled back: an earlier plan is served." if page["rolled_back"] else ""
    if page["managed"] and not page["applied"]:
        force = "Observed only: not applied."
    parts = [
        " ".join(filter(None, (summary, force))),
        page["reason"],
        text_table(("ENDPOINT", "NODE", "CAPACITY", "TARGET/S"), ends),
        text_table(("CLIENT", "ENDPOINT", "TIER", "SHARE", "REQUESTS/S"), rows),
    ]
    return "\n\n".join(parts)
