"""``askew proxy-status``: what each proxy was sent and has accepted, by type."""

from __future__ import annotations

import argparse
from typing import Any

from askew.cli.json_document import dump_json
from askew.cli.text_table import text_table
from askew.errors import CommandError
from askew.page_reader import PageReader, add_reader_arguments
from mesh.errors import one_line
from xds_server.istio_metrics import SHORT

HELP = "what each proxy was sent and has accepted"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("proxy", metavar="PROXY", nargs="?", help="only this one (its node.id)")
    add_reader_arguments(parser)


def run(args: argparse.Namespace) -> int:
    found = [status(proxy) for proxy in PageReader.of(args).get("/debug/syncz")]
    found.sort(key=lambda one: str(one["proxy"]))
    if args.proxy is not None:
        found = [one for one in found if one["proxy"] == args.proxy]
        if not found:
            raise CommandError(one_line(f"PROXY: found {args.proxy!a}, allowed: a connected proxy's node.id"))
    print(dump_json(found) if args.output == "json" else _text(found))
    return 0


def status(proxy: dict[str, Any]) -> dict[str, Any]:
    """Return a proxy's entry of ``-o json``: state and last error of each type, from its entry of ``/debug/syncz``."""
    types = {SHORT.get(type_url, type_url): one for type_url, one in proxy["resources"].items()}
    return {
        "proxy": proxy["proxy"],
        "synced": proxy["synced"],
        "version": proxy["version"],
        "types": {name: _state(one) for name, one in sorted(types.items())},
        "errors": {name: one["lastError"] for name, one in sorted(types.items()) if one["lastError"]},
    }


def _state(one: dict[str, Any]) -> str:
    """Return istioctl's word for it."""
    if one["lastError"]:
        return "ERROR"
    if not one["sent"]:
        return "NOT SENT"
    return "SYNCED" if one["sent"] == one["acked"] else "STALE"


def _text(found: list[dict[str, Any]]) -> str:
    names = ("cds", "lds", "eds", "rds")
    header = ("PROXY", *(name.upper() for name in names), "VERSION")
    rows = [(one["proxy"], *(one["types"].get(name, "-") for name in names), one["version"]) for one in found]
    errors = [f"{one['proxy']} {name}: {ascii(error)[1:-1]}" for one in found for name, error in one["errors"].items()]
    return "\n".join([text_table(header, rows), *errors])
