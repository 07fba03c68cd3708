"""``askew explain``: in one paragraph, why a client sends this share there."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from dataclasses import asdict

from askew.cli.json_document import dump_json
from askew.errors import CommandError
from askew.explanation import Allocation, explain
from askew.page_reader import PageReader, add_reader_arguments
from mesh.errors import one_line

HELP = "why a client sends what it sends to a service, or to one endpoint of it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("client", metavar="CLIENT", help="a client container")
    parser.add_argument("service", metavar="SERVICE", help="name, name.namespace, either with :port")
    parser.add_argument("endpoint", metavar="ENDPOINT", nargs="?", help="one container of the service")
    add_reader_arguments(parser)


def run(args: argparse.Namespace) -> int:
    page = PageReader.of(args).get("/debug/allocationz", service=args.service)
    service = f"{page['service']}:{page['port']}"
    client = _known("CLIENT", args.client, page["clients"], f"a client of {service}")
    endpoint = ""
    if args.endpoint is not None:
        endpoint = _known("ENDPOINT", args.endpoint, page["endpoints"], f"an endpoint of {service}")
    allocation = Allocation(page, client)
    text = explain(allocation, endpoint)
    if args.output == "json":
        print(dump_json(_json(allocation, endpoint, text)))
    else:
        print(textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False))
    return 0


def _known(what: str, name: str, names: Sequence[str], allowed: str) -> str:
    """Return the name as the page has it; ``<container>.<namespace>`` means the container."""
    found = name if name in names else name.rpartition(".")[0]
    if found not in names:
        few = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        raise CommandError(one_line(f"{what}: found {name!a}, allowed: {allowed}: {few or 'there is none'}"))
    return found


def _json(allocation: Allocation, endpoint: str, text: str) -> dict[str, object]:
    page = allocation.page
    return {
        "client": allocation.client,
        "service": page["service"],
        "port": page["port"],
        "endpoint": endpoint or None,
        "place": allocation.place,
        "requests_per_s": allocation.requests_per_s,
        "managed": page["managed"],
        "applied": page["applied"],
        "parts": [asdict(part) for part in allocation.parts() if not endpoint or part.endpoint == endpoint],
        "standbys": page.get("standbys", {}).get(allocation.client, {}),
        "reason": page["reason"],
        "text": text,
    }
