"""``askew links``: how many bytes each link carries, and how that is known."""

from __future__ import annotations

import argparse
from typing import Any

from askew.cli.json_document import dump_json
from askew.cli.text_table import number, text_table
from askew.page_reader import PageReader, add_reader_arguments

HELP = "bytes per second of each link, and how they are known"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_reader_arguments(parser)


def run(args: argparse.Namespace) -> int:
    page = PageReader.of(args).get("/debug/linkz")
    print(dump_json(page) if args.output == "json" else _text(page))
    return 0


def _text(page: dict[str, Any]) -> str:
    links = sorted(page["links"], key=lambda link: (-link["bytes_per_s"], link["from"], link["to"]))
    rows = [(link["from"], link["to"], number(link["bytes_per_s"]), link["method"]) for link in links]
    table = text_table(("FROM", "TO", "BYTES/S", "METHOD"), rows)
    wanted = page.get("to_measure", [])
    return table + (f"\n\nTo be measured, for certainty: {', '.join(map(str, wanted))}" if wanted else "")
