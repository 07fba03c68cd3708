"""The input of ``askew allocate placement``: JSON text to checked values."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from allocators.placement import StandingPod
from askew.cli.json_document import load_json, name
from estimators.flows import Flow
from mesh.document import Fields, number
from mesh.errors import BadInputError

_rate = number(0.0, 1e250, allowed="bytes per second, a number from 0 to 1e250")  # sums over all pods stay finite


@dataclass(frozen=True, slots=True)
class PlacementFile:
    """What the file says: the new pod, the nodes, who stands where, and who sends how much to whom."""

    pod: str
    workload: str
    nodes: Sequence[str]
    pods: Sequence[StandingPod]
    flows: Sequence[Flow]


def parse_placement_file(text: str) -> PlacementFile:
    """Read the file.

    Raises
    ------
    BadInputError
        names the place (``nodes[3].pods[0].workload``), what was found there and what is allowed.
    """
    top = Fields(load_json(text), "", allowed=("pod", "nodes", "flows"))
    pod, workload = top.take("pod", _pod)
    nodes = top.items("nodes", _node)
    _refuse_twice([node for node, _ in nodes], "nodes[{}].name", "node")
    flows = top.items("flows", _flow)
    _refuse_twice([(flow.source, flow.target) for flow in flows], "flows[{}]", "flow")
    return PlacementFile(
        pod=pod,
        workload=workload,
        nodes=[node for node, _ in nodes],
        pods=[one for _, pods in nodes for one in pods],
        flows=flows,
    )


def _pod(value: object, path: str) -> tuple[str, str]:
    fields = Fields(value, path, allowed=("name", "workload"))
    return fields.take("name", name), fields.take("workload", name)


def _node(value: object, path: str) -> tuple[str, list[StandingPod]]:
    fields = Fields(value, path, allowed=("name", "pods"))
    node = fields.take("name", name)
    pods = fields.items("pods", _pod, ())
    _refuse_twice([pod for pod, _ in pods], fields.at("pods") + "[{}].name", "pod")
    return node, [StandingPod(pod, workload, node) for pod, workload in pods]


def _flow(value: object, path: str) -> Flow:
    fields = Fields(value, path, allowed=("from", "to", "bytes_per_s"))
    return Flow(fields.take("from", name), fields.take("to", name), fields.take("bytes_per_s", _rate))


def _refuse_twice(found: Sequence[Hashable], path: str, what: str) -> None:
    seen = set()
    for index, one in enumerate(found):
        if one in seen:
            shown = " to ".join(one) if isinstance(one, tuple) else one
            raise BadInputError(path.format(index), f"{what} {shown} a second time", "each once")
        seen.add(one)
