"""``askew allocate traffic FILE``, ``placement FILE``: the allocators on a file, JSON out."""

from __future__ import annotations

import argparse

import numpy as np

from allocators.placement import score_nodes
from allocators.problem import TrafficProblem
from allocators.traffic_plan import TrafficPlan, allocate_traffic
from askew.cli.input_file import parse_file
from askew.cli.json_document import dump_json
from askew.cli.placement_file import parse_placement_file
from askew.cli.traffic_file import parse_traffic_file

HELP = "decide shares, or a pod's node, from what a file says"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        choices=tuple(ALLOCATIONS),
        help="traffic: which part each client sends to each endpoint; placement: which node suits a new pod",
    )
    parser.add_argument("file", metavar="FILE", help="JSON file, - for standard input")
    parser.add_argument("-o", "--output", choices=("json",), default="json", help="form of the output")


def run(args: argparse.Namespace) -> int:
    print(ALLOCATIONS[args.what](args.file))
    return 0


def traffic(file: str) -> str:
    """Return the shares for a file as JSON text. Raises CommandError for a file that is not as it should be."""
    problem, terms = parse_file(file, parse_traffic_file)
    plan = allocate_traffic(
        problem,
        routing=terms.routing,
        strategy=terms.strategy,
        connections=terms.connections,
        max_overload=terms.max_overload,
    )
    return dump_json(_document(problem, plan))


def placement(file: str) -> str:
    """Return the nodes' scores for a file as JSON text. Raises CommandError for a file that is not as it should be."""
    found = parse_file(file, parse_placement_file)
    scores = score_nodes(found.nodes, found.pods, found.flows, workload=found.workload, name=found.pod)
    return dump_json({"scores": [{"node": one.node, "score": one.score} for one in scores]})


def _document(problem: TrafficProblem, plan: TrafficPlan) -> dict[str, object]:
    rows, columns = np.nonzero(plan.fractions)
    shares = plan.fractions[rows, columns]
    return {
        "shares": [
            {"client": problem.clients[row], "endpoint": problem.endpoints[column], "share": share}
            for row, column, share in zip(rows.tolist(), columns.tolist(), shares.tolist(), strict=True)
        ],
        "targets": dict(zip(problem.endpoints, plan.targets.tolist(), strict=True)),
        "local_share": plan.local_share,
        "cross_node_share": plan.cross_node_share,
        "lower_bound_cross_node_share": plan.lower_bound_cross_node_share,
        "connections": plan.connections,
        "max_connections_per_client": plan.max_connections_per_client,
        "target_deviation": plan.target_deviation,
        "reason": plan.reason,
    }


ALLOCATIONS = {"traffic": traffic, "placement": placement}
