"""``askew estimate links FILE`` and ``askew estimate flows FILE``: the estimators on a file, JSON out."""

from __future__ import annotations

import argparse

from askew.cli.flow_file import parse_flow_file
from askew.cli.input_file import parse_file
from askew.cli.json_document import dump_json
from askew.cli.link_file import parse_link_file
from estimators.flows import estimate_flows
from estimators.link_traffic import estimate_links
from estimators.window_totals import total_window

HELP = "estimate link traffic or workload flows from counters in a file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", choices=tuple(ESTIMATES), help="links: from byte counters; flows: from Istio's byte sums"
    )
    parser.add_argument("file", metavar="FILE", help="JSON file, - for standard input")


def run(args: argparse.Namespace) -> int:
    print(ESTIMATES[args.what](args.file))
    return 0


def links(file: str) -> str:
    """Return the link estimate of a file as JSON text. Raises CommandError for a file that is not as it should be."""
    content = parse_file(file, parse_link_file)
    estimate = estimate_links(
        content.containers,
        content.calls,
        total_window(content.samples),
        shares=content.shares,
        measured=content.measured,
    )
    return dump_json(
        {
            "links": [
                {
                    "from": link.source,
                    "to": link.target,
                    "bytes_per_s": link.rate_bytes_per_s,
                    "method": link.method,
                    "confidence": link.confidence,
                }
                for link in estimate.links
            ],
            "container_links": [
                {"from": source, "to": target, "bytes_per_s": rate}
                for source, target, rate in estimate.container_links.rows()
            ],
            "to_measure": list(estimate.to_measure),
            "residual": estimate.residual,
            "warnings": list(estimate.warnings),
        }
    )


def flows(file: str) -> str:
    """Return the flows of a file as JSON text. Raises CommandError for a file that is not as it should be."""
    content = parse_file(file, parse_flow_file)
    estimate = estimate_flows(content.samples, method=content.method, half_life_s=content.half_life_s)
    return dump_json(
        {
            "flows": [
                {"from": flow.source, "to": flow.target, "bytes_per_s": flow.rate_bytes_per_s}
                for flow in estimate.flows
            ],
            "warnings": list(estimate.warnings),
        }
    )


ESTIMATES = {"links": links, "flows": flows}
